"""A model folder handed on: the files that belong to it, and what transformers makes of them."""

import shutil
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firth.errors import RunError
from firth.interop.check import Answer
from firth.interop.onnx import fed, prepared_in
from firth.interop.tensors import INDEX, OWN, PREPARES, WEIGHTS, read_json, refuse_pickles, shards
from firth.signal import Batch

KEPT = (
    "config.json",
    "generation_config.json",
    OWN,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentence_bert_config.json",
    PREPARES,
)
FED = ("bert", "modernbert", "llama", "gpt2", "qwen3", "vit", "resnet")  # model types that are fed here
SAME = {"prediction_logits": "logits"}  # of BertForPreTraining
UNUSED = "pooler."  # of BertModel; firth's encoders have none, and its output is not compared


def files_of(folder: Path) -> list[str]:
    """Names of the files that belong to the model. Raises InputError where its weights are a pickle only."""
    weights = [WEIGHTS] if (folder / WEIGHTS).is_file() else []
    if not weights and (folder / INDEX).is_file():
        weights = [INDEX, *shards(folder / INDEX)]
    if not weights:
        refuse_pickles(folder)
    return [name for name in (*KEPT, *weights) if (folder / name).is_file()]


def copy(folder: Path, out: Path) -> None:
    """The files that belong to the model, into a new folder."""
    out.mkdir()
    for name in files_of(folder):
        shutil.copyfile(folder / name, out / name)


def class_of(folder: Path) -> str:
    """The class of transformers that config.json names; AutoModel where it names none that is there."""
    import transformers

    named = read_json(folder / "config.json").get("architectures") or [""]
    return str(named[0]) if hasattr(transformers, str(named[0])) else "AutoModel"


def opens(folder: Path) -> bool:
    """Whether a class of transformers is fed here: those that read tokens or pixels, in a shape that it has."""
    config = read_json(folder / "config.json")
    return config.get("model_type") in FED


class Theirs:
    """A model folder opened by a class of transformers, in fp32; options: gguf_file, the name of a file in the folder.

    Raises RunError where it would begin with weights that are not there.
    """

    def __init__(self, folder: Path, name: str, **options: Any):
        import transformers

        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        with redirect_stderr(StringIO()):  # bars
            model, told = getattr(transformers, name).from_pretrained(
                str(folder), dtype=torch.float32, local_files_only=True, output_loading_info=True, **options
            )
        self.model, self.segments = model.eval(), bool(getattr(model.config, "type_vocab_size", 0))
        self.prepared = prepared_in(folder)
        if missing := sorted(name for name in told["missing_keys"] if not name.startswith(UNUSED)):
            what = f"transformers finds no weights for `{missing[0]}` and begins them at random"
            raise RunError(folder, what, "Nothing was kept; please report it.")

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Answer:
        found = self.model(**self.given(batch))
        return {SAME.get(name, name): in_steps(value) for name, value in found.items() if isinstance(value, Tensor)}

    def given(self, batch: Batch) -> dict[str, Tensor]:
        """A batch as the class there wants it."""
        given = {name: torch.from_numpy(value) for name, value in fed(batch, self.prepared).items()}
        return given if self.segments else {name: given[name] for name in given if name != "token_type_ids"}


def in_steps(value: Tensor) -> Tensor:
    """A map (B, D, H, W) as steps (B, H·W, D)."""
    return value.flatten(2).transpose(1, 2) if value.dim() == 4 else value
