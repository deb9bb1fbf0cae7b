"""Checkpoints: one safetensors file per step, written under a temporary name, synced, renamed; the newest two are kept.

The header's metadata holds the step, JSON facts, and a digest of everything else, so that a file that a crash or a bad
disk has damaged is noticed, skipped with a note, and the one before it is used.
"""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from firth.errors import RunError

FORMAT = "firth checkpoint 1"
NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


@dataclass
class Checkpoint:
    """What a run goes on from. tensors: CPU tensors by name. facts: whatever JSON holds."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with the prefix, without it."""
        return {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}


class Checkpoints:
    """The folder checkpoints/ of a run. notes: what a person should be told about what was found there."""

    def __init__(self, folder, keep: int = 2):
        self.folder, self.keep = Path(folder), keep
        self.notes: list[str] = []

    def path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}.safetensors"

    def steps(self) -> list[int]:
        """The steps there are files of, ascending; temporary files don't count."""
        return sorted(int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.safetensors"))

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write, then remove what is older than the newest `keep` (and what claims to be later than this one).

        Raises RunError when the disk is full or refuses; the temporary file is gone then, older checkpoints are intact.
        """
        path = self.path(checkpoint.step)
        temporary = path.with_suffix(".partial")
        with self._explained(temporary, checkpoint):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            write(temporary, checkpoint)
            os.replace(temporary, path)
            sync_folder(self.folder)
        self._prune(checkpoint.step)
        return path

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, None where there is none; skipped ones are named in `notes`."""
        for step in reversed(self.steps()):
            try:
                return read(self.path(step))
            except (SafetensorError, OSError, ValueError, KeyError) as error:
                self.notes.append(f"{self.path(step)} is damaged ({error}) and was skipped.")
        return None

    def _sweep(self) -> None:
        """Remove what a killed process left half written."""
        for path in self.folder.glob("step-*.partial"):
            path.unlink(missing_ok=True)

    def _prune(self, newest: int) -> None:
        kept = [step for step in self.steps() if step <= newest][-self.keep :]
        for step in set(self.steps()) - set(kept):
            self.path(step).unlink(missing_ok=True)

    @contextmanager
    def _explained(self, temporary: Path, checkpoint: Checkpoint):
        try:
            yield
        except OSError as error:
            remove(temporary)
            raise self._refused(error, checkpoint) from error

    def _refused(self, error: OSError, checkpoint: Checkpoint) -> RunError:
        size = f"{sum(t.nbytes for t in checkpoint.tensors.values()) / 1e6:,.1f} MB"
        last = self.steps()[-1:]
        then = f"it goes on from step {last[0]:,}" if last else "it begins anew, as there is no earlier checkpoint"
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = f"the disk is full ({size} are needed)" if full else (error.strerror or str(error)).lower()
        repair = f"Make {size} of room" if full else "Put that right"
        what = f"the checkpoint of step {checkpoint.step:,} could not be written: {reason}"
        return RunError(str(self.folder), what, f"{repair}, then run the same command: {then}.")


def write(path: Path, checkpoint: Checkpoint) -> None:
    """A safetensors file, tensor by tensor without a second copy in memory, synced to the disk."""
    ordered = dict(sorted(checkpoint.tensors.items()))
    metadata = {"format": FORMAT, "step": str(checkpoint.step), "facts": json.dumps(checkpoint.facts)}
    metadata["digest"] = digest(ordered, json.dumps(metadata, sort_keys=True))
    header = json.dumps({"__metadata__": metadata} | _entries(ordered)).encode()
    header += b" " * (-len(header) % 8)
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for tensor in ordered.values():
            file.write(_bytes(tensor))
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Checkpoint:
    """Raises ValueError, SafetensorError, OSError or KeyError for a file that is not whole."""
    with safe_open(path, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    if metadata.pop("digest", "") != digest(tensors, json.dumps(metadata, sort_keys=True)):
        raise ValueError("its contents do not match its digest")
    return Checkpoint(int(metadata["step"]), tensors, json.loads(metadata["facts"]))


def digest(tensors: Mapping[str, Tensor], salt: str = "") -> str:
    """BLAKE2b over names, shapes and bytes: equal only for bit-equal tensors."""
    state = blake2b(salt.encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(_bytes(tensor))
    return state.hexdigest()


def _entries(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The header of a safetensors file: dtype, shape and place of each tensor."""
    entries, end = {}, 0
    for name, tensor in tensors.items():
        start, end = end, end + tensor.nbytes
        entries[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    return entries


def _bytes(tensor: Tensor) -> memoryview:
    """(nbytes,) uint8, without a copy where the tensor is contiguous and on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return np.ascontiguousarray(flat.numpy()).data


def remove(path: Path) -> None:
    """Without complaint where it cannot be done: the error that led here is the one to tell."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the rename itself last; where folders cannot be opened (Windows) there is nothing to do."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except (PermissionError, IsADirectoryError):
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
