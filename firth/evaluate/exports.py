"""The forms that `firth export` knows: what each says before, what it writes, and what it is compared with afterwards.

Whatever the form, the numbers to be met are those of the model as firth opens and computes it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from firth import find
from firth.errors import InputError, RunError
from firth.evaluate.encoder import open_encoder
from firth.evaluate.predict import head_of, load
from firth.interop import check, gguf, hf, onnx
from firth.interop.check import Answer, Checked
from firth.interop.folder import TYPES, Opened, model_folder, open_folder, open_shape
from firth.interop.gguf_read import Read
from firth.interop.gguf_vocabulary import cut_otherwise, vocabulary_of
from firth.interop.tensors import read_json, write_json
from firth.model.encoder import Backbone
from firth.model.sizes import READS
from firth.objective import Composed
from firth.signal import Batch, Features
from firth.train.build import describe_model

# B samples, T steps, D width

VECTORS = "vectors"  # in place of the name of a head
WHOLE = {"tokens": "sentence_embedding", "pixels": "image_embedding"}  # the vector of a sample, by what is read


class Options(NamedTuple):
    """What a person may say beside the form."""

    precision: str | None = None
    vectors: bool = False
    settings: Iterable[str] | Mapping[str, Any] = ()


class Form(Protocol):
    """A model on its way to another tool. Making one opens and refuses; nothing is written before `write`."""

    model: str  # for the plan, as `plan` itself
    plan: str

    def write(self, out: Path) -> None:
        """Into a place that is free."""

    def check(self, out: Path) -> Iterator[tuple[str, Checked]]:
        """(what it was opened with, how far it lies from the model), one after the other. Raises RunError."""


# ------------------------------------------------------------------ the model as firth computes it


@dataclass(frozen=True)
class Subject:
    """An encoder with one head or none, and the signal that feeds it."""

    opened: Opened
    name: str  # of the task or objective; vectors
    objective: Composed
    signal: Any  # of text
    exported: Callable[[Features], dict[str, Tensor]]

    @property
    def backbone(self) -> Backbone:
        return self.objective.backbone  # type: ignore[return-value]

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Answer:
        features = self.backbone(batch)
        return {"last_hidden_state": features.values, **self.exported(features)}

    @torch.inference_mode()
    def outputs(self) -> dict[str, str]:
        """What is exported, by name, and its size: batch × steps × 300."""
        short, long = (self.exported(self.backbone(batch)) for batch in check.check_batches(self.signal)[:2])
        return {name: sizes_of(short[name].shape, long[name].shape) for name in short}

    def __str__(self) -> str:
        classes = f" ({len(self.opened.classes)} classes)" if self.opened.classes else ""
        return f"{describe_model(self.opened.shape, self.objective)} · {self.name}{classes}"


def subject_of(model: str | Path, vectors: bool, settings: Iterable[str] | Mapping[str, Any] = ()) -> Subject:
    """The model with its head; vectors, or no head that predicts: the encoder alone. Raises InputError."""
    opened = open_folder(model)
    head = None if vectors else head_in(opened)
    if head is None:
        encoder = open_encoder(model, settings, "cpu", words=False)
        vectors_named = partial(vectors_of, WHOLE.get(READS[opened.shape.name], "embedding"))
        return Subject(opened, VECTORS, Composed(encoder.backbone, {}), encoder.signal, vectors_named)
    name, kind = head
    exported = getattr(find.find(kind, name), "exported", None)
    if exported is None:
        what = f"`{name}` has nothing that another tool could be given"
        raise InputError(model, what, "Say --vectors, for what the encoder gives.")
    found = load(model, settings, "cpu")
    if found.objective.parts[name].layer_sum is not None:
        what = "its head reads all layers, and other tools are given the last one"
        raise InputError(model, what, "Say --vectors, or adapt without model.layer_sum.")
    return Subject(opened, name, found.objective, found.signal, partial(exported, found.objective.parts[name]))


def head_in(opened: Opened) -> tuple[str, str] | None:
    """(name, kind) of the part that predicts."""
    with suppress(InputError):
        return head_of(opened, "")
    return None


def vectors_of(whole: str, features: Features) -> dict[str, Tensor]:
    """The vectors of all steps, and as `whole` what `firth embed` gives: their mean over the sample, of length 1."""
    return {"last_hidden_state": features.values, whole: F.normalize(features.mean, dim=-1)}


# ------------------------------------------------------------------ the forms


class Onnx:
    """A folder with model.onnx, config.json, and the tokenizer or how pictures are prepared."""

    def __init__(self, model: str | Path, options: Options):
        refuse_option("onnx", options, "precision")
        check.need("--to onnx", onnx.PACKAGES, "export")
        shape = open_shape(model)
        if shape.name not in onnx.ENCODERS:
            what = f"is of the shape `{shape.name}`, and ONNX is written of {', '.join(onnx.ENCODERS)}"
            raise InputError(model, what, "Say --to gguf, or --to hf.")
        self.config = read_json(model_folder(model) / "config.json")
        subject = self.subject = subject_of(model, options.vectors, options.settings)
        self.outputs, given = subject.outputs(), onnx.inputs_of(shape)
        shown = ", ".join(f"{name} ({size})" for name, size in self.outputs.items())
        self.model, self.plan = str(subject), f"ONNX · {', '.join(given.names)} ({given.size}) → {shown}"

    def write(self, out: Path) -> None:
        subject, shape = self.subject, self.subject.backbone.shape
        out.mkdir()
        if hasattr(subject.backbone, "set_attention"):
            subject.backbone.set_attention("sdpa")  # whose graph is the shorter one
        onnx.write(out / "model.onnx", onnx.graph_of(subject.objective, subject.exported), list(self.outputs))
        subject.signal.save(out, **({} if onnx.of_pixels(shape) else {"segments": bool(shape.segments)}))
        bare = {"architectures": [TYPES[shape.name].architecture(set(), None)]} if subject.name == VECTORS else {}
        write_json(out / "config.json", self.config | bare)

    def check(self, out: Path) -> Iterator[tuple[str, Checked]]:
        found = check.compared(self.subject, onnx.Opened(out / "model.onnx"), check.check_batches(self.subject.signal))
        yield check.installed("onnxruntime"), found


class Hf:
    """A clean copy of the model folder."""

    def __init__(self, model: str | Path, options: Options):
        refuse_option("hf", options, "precision", "vectors")
        self.folder, self.subject = model_folder(model), subject_of(model, False, options.settings)
        names = hf.files_of(self.folder)
        self.model, self.plan = str(self.subject), f"Hugging Face folder · {', '.join(names)}"

    def write(self, out: Path) -> None:
        hf.copy(self.folder, out)

    def check(self, out: Path) -> Iterator[tuple[str, Checked]]:
        again, batches = subject_of(out, False), check.check_batches(self.subject.signal)
        refuse_other(out, self.subject.opened, again.opened)
        found = check.compared(self.subject, again, batches)
        check.refuse_apart(out, found, "firth", limit=0)
        yield "firth", found
        if find_spec("transformers") and hf.opens(out):
            theirs = hf.Theirs(out, hf.class_of(out))
            yield check.installed("transformers"), check.compared(self.subject, theirs, batches)


class Gguf:
    """One file, for llama.cpp."""

    def __init__(self, model: str | Path, options: Options):
        refuse_option("gguf", options, "vectors")
        check.need("--to gguf", gguf.PACKAGES, "export")
        self.folder = model_folder(model)
        self.title = self.folder.parent.name if self.folder.name == "model" else self.folder.name
        self.sizes = sizes = gguf.sizes_of(self.folder)
        self.weights = gguf.weights_of(self.folder, sizes)
        self.precision = gguf.precision_of(options.precision, self.weights)
        self.vocabulary = vocabulary_of(self.folder, sizes.vocabulary)
        self.subject = writer_of(self.folder)
        self.model, self.plan = str(self.subject), f"GGUF · {self.precision} · context {sizes.context:,}"

    def write(self, out: Path) -> None:
        gguf.write(out, self.title, self.weights, self.sizes, self.vocabulary, self.precision)

    def check(self, out: Path) -> Iterator[tuple[str, Checked]]:
        read, ours = Read(out), self.subject
        self.refuse_changed(out, read)
        batches = check.plain_batches(self.sizes.vocabulary, self.sizes.context)
        round_weights(ours, self.precision)
        found = check.compared(ours, lambda batch: {"logits": read.logits(batch["tokens"])}, batches)
        yield f"{check.installed('gguf')}, computed as llama.cpp does", found
        if find_spec("transformers") and find_spec("accelerate"):  # which transformers opens such files with
            theirs = hf.Theirs(out.parent, "AutoModelForCausalLM", gguf_file=out.name)
            yield check.installed("transformers"), check.compared(ours, theirs, batches)

    def refuse_changed(self, out: Path, read: Read) -> None:
        """Raises RunError where the file says something else than the folder, or cuts a text into other tokens."""
        if found := gguf.changed(read, self.weights, self.sizes, self.vocabulary, self.precision):
            raise RunError(
                out, f"`{found[0]}` is read back with another content", "Nothing was kept; please report it."
            )
        if texts := cut_otherwise(read.encode, self.folder, self.vocabulary):
            what = f"its tokenizer cuts `{texts[0]}` into other tokens than the model's"
            raise RunError(out, what, "Nothing was kept; please report it.")


FORMS: dict[str, Callable[[str | Path, Options], Form]] = {"gguf": Gguf, "hf": Hf, "onnx": Onnx}


def writer_of(folder: Path) -> Subject:
    """The model with the head that writes on. Raises InputError where there is none."""
    subject = subject_of(folder, False)
    if subject.name == VECTORS:
        raise InputError(folder, "is the encoder alone, and nothing in it writes on", "Say --to hf.")
    return subject


def round_weights(subject: Subject, precision: str) -> None:
    """Matrices as the file holds them."""
    with torch.no_grad():
        for parameter in subject.objective.parameters():
            parameter.copy_(gguf.rounded(parameter, precision))


def refuse_option(form: str, options: Options, *others: str) -> None:
    """Raises InputError for an option of another form."""
    for name in others:
        if getattr(options, name):
            of = next(one for one, own in OWN.items() if name in own)
            raise InputError(f"--{name}", f"means nothing with --to {form}", f"Leave it out, or say --to {of}.")


OWN = {"gguf": ("precision",), "onnx": ("vectors",)}


def refuse_other(out: Path, one: Opened, other: Opened) -> None:
    """Raises RunError where a copy is not what was copied."""
    same = one.shape == other.shape and one.classes == other.classes and one.state.keys() == other.state.keys()
    if not (same and all(torch.equal(tensor, other.state[name]) for name, tensor in one.state.items())):
        raise RunError(out, "the copy is another model than the original", "Nothing was kept; please report it.")


def sizes_of(short: Sequence[int], long: Sequence[int]) -> str:
    """From the sizes of an output for a short and for a long sample."""
    rest = (f"{one:,}" if one == other else "steps" for one, other in zip(short[1:], long[1:], strict=True))
    return " × ".join(["batch", *rest])
