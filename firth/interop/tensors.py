"""Safetensors files of a model folder: read, also in several files, and written under a temporary name first."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from firth.errors import InputError, RunError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
OWN = "firth.safetensors"  # what the transformers class of the folder has no place for
PREPARES = "preprocessor_config.json"  # how pictures and sounds are prepared
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder but those in firth.safetensors. Raises InputError; never opens a pickle."""
    if (folder / WEIGHTS).is_file():
        return read_file(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        refuse_pickles(folder)
        raise InputError(folder, f"holds no {WEIGHTS}", "Give a folder with config.json and model.safetensors.")
    tensors: dict[str, Tensor] = {}
    for name in shards(folder / INDEX):
        tensors |= read_file(folder / name)
    return tensors


def shards(index: Path) -> list[str]:
    """The files that an index names, each once. Raises InputError, also for a name that leads out of the folder."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict):
        raise InputError(index, "has no `weight_map`", "Copy the file again from where the model came from.")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(index, f"names `{name}`, which is no .safetensors file beside it", "Use another model.")
    return names


def read_file(path: Path) -> dict[str, Tensor]:
    """The tensors of one file. Raises InputError for a missing, unreadable or damaged one."""
    try:
        path.open("rb").close()
        return load_file(path)
    except OSError as error:
        raise InputError(path, f"cannot be read ({reason(error)})", "Check the file and its permissions.") from None
    except SafetensorError:
        raise InputError(
            path, "is no whole safetensors file", "Copy it again from where the model came from."
        ) from None


def write_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write under a temporary name, then rename. Raises RunError where the disk does not take it."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path) as partial:
        save_file(whole, partial, metadata={"format": "pt"})


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` once it is written. Raises RunError, and then leaves `path` as it was."""
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        what = f"cannot be written ({reason(error)})"
        raise RunError(path, what, "Make room or choose another --out, then run again.") from None


def read_json(path: Path) -> dict:
    """A JSON object. Raises InputError."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read ({reason(error)})", "Check the file and its permissions.") from None
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise InputError(path, "is no JSON object", "Copy it again from where the model came from.")
    return tree


def write_json(path: Path, tree: Mapping) -> None:
    """Write under a temporary name, then rename. Raises RunError."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def reason(error: Exception) -> str:
    """Without the place, which the message names itself."""
    text = getattr(error, "strerror", None) or str(error)
    return text.removeprefix("Error while serializing: I/O error: ").split(" (os error ")[0]


def refuse_pickles(folder: Path) -> None:
    """Raises InputError where there is one."""
    pickled = sorted(path.name for pattern in PICKLED for path in folder.glob(pattern))
    if pickled:
        raise InputError(
            folder,
            f"holds its weights as a pickle only (`{pickled[0]}`), which can run any program when opened",
            "Convert it with its own tool to model.safetensors; firth reads no other form.",
        )
