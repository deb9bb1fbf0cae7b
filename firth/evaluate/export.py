"""`firth export`: a model for other tools.

What is written is loaded again and compared with the model; only then does it take its place. An export is therefore
one that was found equal, or none.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from firth.errors import InputError, did_you_mean
from firth.evaluate.exports import FORMS, Options
from firth.interop.check import refuse_apart
from firth.interop.folder import model_folder
from firth.train.adaptation import refuse_unfinished
from firth.train.describe import size
from firth.train.folder import free_place, writing
from firth.train.log import Show, Silent

SUFFIXES = {"gguf": ".gguf"}  # of forms that are one file; the others are folders


@dataclass(frozen=True)
class Exported:
    """What was written. differences: the greatest one from the model, by what the export was opened with."""

    out: str
    to: str
    status: str = "finished"
    bytes: int = 0
    differences: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.out} · {size(self.bytes)}"


def export(
    model: str | Path,
    to: str,
    out: str | Path | None = None,
    precision: str | None = None,
    vectors: bool = False,
    settings: Iterable[str] | Mapping[str, Any] = (),
    dry_run: bool = False,
    show: Show | None = None,
) -> Exported:
    """Write a model for other tools, and compare it with the model.

    to: onnx, gguf or hf. out: a folder, of gguf a file; None: named after the model, here. precision: of gguf, f32 or
    f16; None: f16 where it is exact. vectors: of onnx, the encoder without its head. settings: dotted keys of the
    signal, such as text.context=256. Raises InputError for a model that the form cannot hold, RunError for an export
    that does not give what the model gives; nothing is left behind then.
    """
    if to not in FORMS:
        raise InputError(f"--to {to}", "no such form", f"{did_you_mean(to, FORMS)}There is: {', '.join(FORMS)}.")
    show = show or Silent()
    refuse_unfinished(model)
    path = free_place(out if out is not None else default_place(model, to))
    form = FORMS[to](model, Options(precision, vectors, settings))
    show.line("Model", form.model)
    show.line("Plan", f"{form.plan} · {path}")
    if dry_run:
        return Exported(str(path), to, "planned")
    differences = {}
    with becoming(path) as partial:
        form.write(partial)
        for opened, found in form.check(partial):
            refuse_apart(path, found, opened)
            show.line("Checked", f"{opened} · {found}")
            differences[opened] = found.difference
    done = Exported(str(path), to, "finished", weight(path), differences)
    show.line("Saved", str(done))
    return done


def default_place(model: str | Path, to: str) -> Path:
    """reviews.gguf, reviews-onnx, for runs/reviews."""
    folder = model_folder(model).resolve()
    name = folder.parent.name if folder.name == "model" else folder.name
    return Path(f"{name}{SUFFIXES[to]}" if to in SUFFIXES else f"{name}-{to}")


@contextmanager
def becoming(path: Path) -> Iterator[Path]:
    """A place of the same name in a folder beside it; it becomes `path` when all went well, else it is removed."""
    with writing(path):
        beside = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        try:
            yield beside / path.name
            os.replace(beside / path.name, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def weight(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(one.stat().st_size for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file())
