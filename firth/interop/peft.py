"""Low-rank adapters as a folder of the package `peft`: adapter_config.json, adapter_model.safetensors."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from firth.interop.folder import TYPES
from firth.interop.places import Place
from firth.interop.tensors import write_file, write_json
from firth.model.low_rank import adapters
from firth.model.shape import Shape

PREFIX = "base_model.model."  # of every tensor there
TARGETS = {  # module names of transformers that end like this have adapters
    "bert": ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"],
    "modernbert": ["attn.Wqkv", "attn.Wo"],
}
KINDS = {"classify": "SEQ_CLS", "pairs": "SEQ_CLS", "tag": "TOKEN_CLS", "span": "QUESTION_ANS"}


def parts_of(shape: Shape) -> int:
    """How many maps of transformers the map to query, key and value is there: 3, or 1 where it is fused there, too."""
    places = TYPES[shape.name].modules(shape, None).values()
    return next(len(place.rows) for place in places if place.module.endswith(".qkv"))


def save_adapter(folder, shape: Shape, state: Mapping[str, Tensor], task: str, source: str) -> None:
    """Write the adapters and the heads in a state_dict, for `PeftModel.from_pretrained(model, folder)`.

    state: with adapters, as `Composed` names them. task: whose head it is; where transformers has no class for it, the
    adapters alone are written, for its AutoModel. source: the model folder below. Raises RunError where the disk does
    not take it.
    """
    form, folder = TYPES[shape.name], Path(folder)
    known = task if task in form.TASKS else None
    places = form.modules(shape, known)
    tensors = lowest(places, state, "" if known else form.PREFIX)
    heads = {theirs: place.module for theirs, place in places.items()
             if known and place.module.startswith(f"parts.{task}.")}  # fmt: skip
    for theirs, ours in heads.items():
        tensors |= {f"{PREFIX}{theirs}.{leaf}": state[f"{ours}.{leaf}"]
                    for leaf in ("weight", "bias") if f"{ours}.{leaf}" in state}  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "adapter_model.safetensors", {name: one.contiguous() for name, one in tensors.items()})
    rank = next(down.shape[1] for _, down, _ in adapters(dict(state)))
    write_json(folder / "adapter_config.json", config(shape.name, rank, source, sorted(heads), KINDS.get(known or "")))


def lowest(places: Mapping[str, Place], state: Mapping[str, Tensor], drop: str) -> dict[str, Tensor]:
    """A and B of each of their maps. drop: what a headless model leaves out before its names."""
    found = {name: (down, up) for name, down, up in adapters(dict(state))}
    tensors: dict[str, Tensor] = {}
    for theirs, place in places.items():
        if place.module in found:
            (down, up), name = found[place.module], PREFIX + theirs.removeprefix(drop)
            tensors |= {f"{name}.lora_A.weight": down[place.part], f"{name}.lora_B.weight": up[place.part]}
    return tensors


def config(shape: str, rank: int, source: str, heads: list[str], kind: str | None) -> dict:
    """adapter_config.json: scale 1, as alpha = rank."""
    return {
        "peft_type": "LORA",
        "task_type": kind,
        "base_model_name_or_path": source,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": TARGETS[shape],
        "modules_to_save": heads or None,
        "inference_mode": True,
    }
