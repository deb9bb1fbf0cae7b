"""A model folder in the layout of transformers: config.json, model.safetensors, and firth.safetensors for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from firth.errors import InputError
from firth.interop import bert, gpt2, llama, modernbert
from firth.interop.places import Place, joined
from firth.interop.tensors import OWN, read_file, read_json, read_weights, write_file, write_json
from firth.model.embedding import TokenEmbedding
from firth.model.encoder import Backbone
from firth.model.shape import Shape
from firth.model.sizes import SHAPES

TYPES: dict[str, ModuleType] = {"bert": bert, "modernbert": modernbert, "llama": llama, "gpt2": gpt2}
CAUSAL = ("ForCausalLM", "LMHeadModel")  # classes there whose output map may be the embedding: then no tensor tells
SEVERAL = "multi_label_classification"
CLASSES = {"ForSequenceClassification": "classify", "ForTokenClassification": "tag", "ForQuestionAnswering": "span"}


@dataclass(frozen=True)
class Opened:
    """What a model folder holds, under the names of a Composed objective."""

    shape: Shape
    state: dict[str, Tensor]
    unused: list[str]  # tensors nobody here has a place for, under the folder's own names
    classes: tuple[str, ...] = ()  # names of the labels, in index order, where it is a classifier
    facts: dict[str, Any] = field(default_factory=dict)  # what save_folder was told
    implied: frozenset[str] = frozenset()  # objectives whose heads are there without a tensor of their own

    @property
    def parts(self) -> frozenset[str]:
        """The objectives and tasks whose heads are there."""
        return self.implied | {name.split(".")[1] for name in self.state if name.startswith("parts.")}


def save_folder(
    folder,
    shape: Shape,
    state: Mapping[str, Tensor],
    classes: tuple[str, ...] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a model that `transformers` opens: AutoModelForMaskedLM, …ForSequenceClassification with parts.classify,
    AutoModelForCausalLM where the shape is causal.

    state: a Composed objective's state_dict. classes: label names in index order. facts: plain values to keep;
    `pooling` ("first" or "mean"), `problem_type`, `cls_token_id`, … go where transformers looks for them.
    Raises RunError where the disk does not take it.
    """
    folder, facts = Path(folder), dict(facts or {})
    folder.mkdir(parents=True, exist_ok=True)
    form, parts = TYPES[shape.name], parts_in(state, shape)
    task = next((name for name in sorted(parts) if name in form.TASKS), None)
    theirs, rest = to_theirs(state, shape, task)
    if task == "span":
        theirs["qa_outputs.bias"] = torch.zeros(2)  # of the class there; it moves no start or end
    write_file(folder / "model.safetensors", theirs)
    write_rest(folder / OWN, rest)
    kind = str(state["backbone.embed.word.weight"].dtype).removeprefix("torch.")
    config = {"architectures": [form.architecture(parts, task)], "dtype": kind, **common(shape)}
    config |= {key: facts[key] for key in ("problem_type",) if key in facts}
    names = classes or numbered(state, task) if task and task != "span" else ()
    write_json(folder / "config.json", config | form.config_of(shape, facts) | labels(names) | {"firth": facts})
    if task is None:
        write_ends(folder, shape, facts)


def parts_in(state: Mapping[str, Tensor], shape: Shape) -> set[str]:
    """The parts of a state_dict; that of next tokens has no tensor where its output map is the embedding."""
    parts = {name.split(".")[1] for name in state if name.startswith("parts.")}
    return parts | ({"next-token"} if shape.causal and shape.tied else set())


def write_ends(folder: Path, shape: Shape, facts: Mapping[str, Any]) -> None:
    """generation_config.json of a shape that writes on: where a text begins and ends, and what fills up a batch; and
    the tokens that are never written."""
    end = facts.get("eos_token_id")
    if shape.causal and end is not None:
        found = {"bos_token_id": facts.get("bos_token_id", end), "eos_token_id": end, "pad_token_id": end}
        never = {"suppress_tokens": facts["suppress_tokens"]} if facts.get("suppress_tokens") else {}
        write_json(folder / "generation_config.json", found | never)


def write_rest(path: Path, rest: Mapping[str, Tensor]) -> None:
    """firth.safetensors, where there is something for it; one of an earlier save is removed."""
    path.unlink(missing_ok=True)
    if rest:
        write_file(path, rest)


def common(shape: Shape) -> dict[str, Any]:
    own = {theirs: getattr(shape, ours) for theirs, ours in TYPES[shape.name].NAMES.items()}
    fixed = {"initializer_range": 0.02, "tie_word_embeddings": True}
    return {**own, "intermediate_size": shape.intermediate, "pad_token_id": shape.pad_id, **fixed}


def numbered(state: Mapping[str, Tensor], task: str) -> tuple[str, ...]:
    """LABEL_0, LABEL_1, … as transformers names the rows of a classifier whose classes nobody named."""
    return tuple(f"LABEL_{row}" for row in range(len(state[f"parts.{task}.classifier.weight"])))


def labels(classes: tuple[str, ...]) -> dict[str, Any]:
    if not classes:
        return {}
    return {
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def open_folder(folder) -> Opened:
    """Read a model folder, firth's own or another's; a run folder stands for the model in it.

    Raises InputError: no folder or config.json, a model_type or setting that is not supported, pickled, missing or
    damaged weights, tensors of another size than config.json says.
    """
    folder = model_folder(folder)
    config = read_json(folder / "config.json")
    shape = shape_from(config, folder / "config.json")
    told = dict(config.get("firth") or {})
    task = task_in(config, told)
    state, unused = to_ours(read_weights(folder), shape, task, folder, config.get("tie_word_embeddings", True))
    state |= read_file(folder / OWN) if (folder / OWN).is_file() else {}
    check_sizes(state, shape, folder)
    named = task in ("classify", "pairs", "tag")
    classes = class_names(config) if named else tuple(told.get("classes") or ())
    facts = (head_facts(config) if named else {}) | told
    implied = {"next-token"} if shape.tied and ends_with(config, CAUSAL) else set()
    return Opened(shape, state, sorted(unused), classes, facts, frozenset(implied))


def ends_with(config: Mapping[str, Any], ends: tuple[str, ...]) -> bool:
    """Whether a class that the folder names ends like that."""
    return any(str(name).endswith(ends) for name in config.get("architectures") or ())


def task_in(config: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """The task whose head lies among the weights, as the class of transformers says; firth's own name where known."""
    names = [str(name) for name in config.get("architectures") or ()]
    found = next((task for end, task in CLASSES.items() for name in names if name.endswith(end)), None)
    form = TYPES[config["model_type"]]
    own = told.get("task") if found and told.get("task") in form.TASKS else found
    return own if own in form.TASKS else None


def open_shape(folder) -> Shape:
    """The shape of a model folder or run folder, without reading weights. Raises InputError as open_folder does."""
    place = model_folder(folder) / "config.json"
    return shape_from(read_json(place), place)


def model_folder(folder) -> Path:
    """The folder with config.json: this one, or `model` in it. Raises InputError."""
    folder = Path(folder)
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    what = "holds no config.json" if folder.is_dir() else "is no folder" if folder.exists() else "no such folder"
    raise InputError(folder, what, "Give a run folder, or a folder with config.json and model.safetensors.")


def head_facts(config: Mapping[str, Any]) -> dict[str, str]:
    """Which vector a classifier looks at, where its shape leaves a choice; and whether several labels may hold."""
    several = {"separator": "list"} if config.get("problem_type") == SEVERAL else {}
    if SHAPES[config["model_type"]].get("causal"):
        return several
    return {"pooling": "mean" if config.get("classifier_pooling") == "mean" else "first", **several}


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(named[key]) for key in sorted(named, key=int))


def shape_from(config: Mapping[str, Any], where: Path) -> Shape:
    """The shape that a config.json describes. Raises InputError."""
    kind = config.get("model_type")
    if kind not in TYPES:
        *most, last = TYPES
        raise InputError(
            where, f"model_type `{kind}` is not supported", f"firth opens {', '.join(most)} and {last} models."
        )
    missing = [key for key in TYPES[kind].NAMES if key not in config]
    if missing:
        raise InputError(where, f"has no `{missing[0]}`", "Copy it again from where the model came from.")
    if unsupported := TYPES[kind].unsupported(config):
        raise InputError(where, f"{', '.join(unsupported)} is not supported", "Use a model without it.")
    try:
        given = {ours: config[theirs] for theirs, ours in TYPES[kind].NAMES.items()}
        return Shape(**{"name": kind, **given, **TYPES[kind].fields_of(config)})
    except ValidationError as error:
        what = f"describes no model: {error.errors()[0]['msg']}"
        raise InputError(where, what, "Copy it again from where the model came from.") from None


def to_theirs(
    state: Mapping[str, Tensor], shape: Shape, task: str | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors under the names of transformers, and under our own those that have none there."""
    places: dict[str, list[tuple[str, Place]]] = {}
    for their_module, place in TYPES[shape.name].modules(shape, task).items():
        places.setdefault(place.module, []).append((their_module, place))
    theirs: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        if module not in places:
            rest[name] = tensor
        for their_module, place in places.get(module, ()):
            theirs[f"{their_module}.{leaf}"] = place.take(tensor)
    return theirs, rest


def to_ours(
    tensors: Mapping[str, Tensor], shape: Shape, task: str | None, folder: Path, tied: bool = True
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names, and the names nobody here has a place for."""
    form = TYPES[shape.name]
    places, unused = form.modules(shape, task), []
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        full = form.theirs_of(name)
        module, _, leaf = full.rpartition(".")
        if form.constant(full) or (full in form.TIED and shape.tied):
            unused += [] if tied or form.constant(full) else [name]
        elif module in places:
            place = places[module]
            pieces.setdefault(f"{place.module}.{leaf}", {})[place.part] = place.turn(tensor)
        else:
            unused.append(name)
    counts = {place.module: len(place.rows) for place in places.values()}
    return {name: join(name, parts, counts[name.rpartition(".")[0]], folder) for name, parts in pieces.items()}, unused


def join(name: str, parts: dict[int, Tensor], count: int, folder: Path) -> Tensor:
    """Row blocks as one tensor. Raises InputError where one is missing."""
    if len(parts) < count:
        raise InputError(folder, f"lacks a part of `{name}`", "Copy the weights again from where the model came from.")
    return joined(parts)


def check_sizes(state: Mapping[str, Tensor], shape: Shape, folder: Path) -> None:
    """Raises InputError where a tensor of the encoder is missing or is of another size than the shape makes it."""
    with torch.device("meta"):
        wanted = Backbone(shape, TokenEmbedding(shape)).state_dict(prefix="backbone.")
    do = "Take config.json and the weights from the same model."
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(folder, f"has no weights for `{name}`", do)
        if state[name].shape != tensor.shape:
            sizes = (" x ".join(map(str, one.shape)) for one in (state[name], tensor))
            found, expected = sizes
            raise InputError(folder, f"`{name}` is {found} in the weights and {expected} by config.json", do)
