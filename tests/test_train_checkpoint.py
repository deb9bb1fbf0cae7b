"""Checkpoints: atomic, readable elsewhere, noticed when damaged, and a full disk loses nothing."""

import errno
import os
import subprocess

import pytest
import torch
from safetensors.torch import load_file

from firth.errors import RunError
from firth.train import checkpoint as module
from firth.train.checkpoint import Checkpoint, Checkpoints, digest, read, write


def some(step: int, size: int = 100) -> Checkpoint:
    tensors = {
        "weights.a": torch.randn(size, 3),
        "weights.low": torch.randn(7).bfloat16(),
        "weights.view": torch.randn(6, 4).T,
        "optimizer.step": torch.tensor(float(step)),
        "weights.flags": torch.tensor([True, False]),
        "weights.none": torch.zeros(0, 4),
    }
    return Checkpoint(step, tensors, {"best": {"score": -1.5}})


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return (a.step, a.facts, digest(a.tensors)) == (b.step, b.facts, digest(b.tensors))


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_written_is_read(tmp_path):
    written = some(3)
    write(tmp_path / "c.safetensors", written)
    found = read(tmp_path / "c.safetensors")
    assert same(found, written)
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in written.tensors.items())


def test_the_file_is_plain_safetensors(tmp_path):
    written = some(3)
    write(tmp_path / "c.safetensors", written)
    elsewhere = load_file(tmp_path / "c.safetensors")
    assert digest(elsewhere) == digest(written.tensors)


def test_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "deep" / "checkpoints")
    for step in (1, 5, 12):
        checkpoints.save(some(step))
    assert checkpoints.steps() == [5, 12]
    assert checkpoints.newest().step == 12
    assert checkpoints.notes == []


def test_there_is_none_in_an_empty_or_missing_folder(tmp_path):
    assert Checkpoints(tmp_path).newest() is None
    assert Checkpoints(tmp_path / "nowhere").newest() is None


def truncate(path):
    os.truncate(path, path.stat().st_size - 40)


def empty(path):
    path.write_bytes(b"")


def flip(path):
    data = bytearray(path.read_bytes())
    data[-30] ^= 4
    path.write_bytes(data)


def relabel(path):
    path.write_bytes(path.read_bytes().replace(b'"step": "2"', b'"step": "7"'))


def garble(path):
    path.write_bytes(os.urandom(2000))


def foreign(path):
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(3)}, path)


@pytest.mark.parametrize("damage", [truncate, empty, flip, relabel, garble, foreign])
def test_a_damaged_file_is_skipped_with_a_note(tmp_path, damage):
    checkpoints, first = Checkpoints(tmp_path), some(1)
    checkpoints.save(first)
    damage(checkpoints.save(some(2)))
    assert same(checkpoints.newest(), first)
    assert len(checkpoints.notes) == 1
    assert checkpoints.notes[0].startswith(f"{checkpoints.path(2)} is damaged (")
    assert checkpoints.notes[0].endswith(") and was skipped.")


def test_going_on_from_an_older_one_removes_the_damaged_later_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 8):
        checkpoints.save(some(step))
    flip(checkpoints.path(8))
    checkpoints.save(some(2))
    assert checkpoints.steps() == [1, 2]


def test_what_a_killed_process_left_is_swept_away(tmp_path):
    (tmp_path / "step-000000004.partial").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.steps() == []
    checkpoints.save(some(5))
    assert names(tmp_path) == ["step-000000005.safetensors"]


def refusing(number: int):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_message_and_the_last_good_one(tmp_path, monkeypatch, call):
    checkpoints, first = Checkpoints(tmp_path), some(1)
    checkpoints.save(first)
    monkeypatch.setattr(module.os, call, refusing(errno.ENOSPC))
    with pytest.raises(RunError) as error:
        checkpoints.save(some(2, size=100_000))
    assert str(error.value) == (
        f"{tmp_path}: the checkpoint of step 2 could not be written: the disk is full (1.2 MB are needed). "
        "Make 1.2 MB of room, then run the same command: it goes on from step 1."
    )
    assert names(tmp_path) == ["step-000000001.safetensors"]
    assert same(checkpoints.newest(), first)


def test_full_disk_at_the_very_first_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "fsync", refusing(errno.ENOSPC))
    with pytest.raises(RunError) as error:
        Checkpoints(tmp_path).save(some(2))
    assert error.value.do.endswith("run the same command: it begins anew, as there is no earlier checkpoint.")


def test_other_refusals_of_the_system_are_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "fsync", refusing(errno.EIO))
    with pytest.raises(RunError) as error:
        Checkpoints(tmp_path).save(some(2))
    assert str(error.value) == (
        f"{tmp_path}: the checkpoint of step 2 could not be written: input/output error. "
        "Put that right, then run the same command: it begins anew, as there is no earlier checkpoint."
    )


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_really_full_disk(small_disk):
    checkpoints, first = Checkpoints(small_disk / "checkpoints"), some(1)
    checkpoints.save(first)
    (small_disk / "other").write_bytes(bytes(900_000))
    with pytest.raises(RunError, match="the disk is full"):
        checkpoints.save(some(2, size=20_000))
    assert names(checkpoints.folder) == ["step-000000001.safetensors"]
    assert same(checkpoints.newest(), first)
    (small_disk / "other").unlink()
    checkpoints.save(some(2, size=20_000))
    assert checkpoints.steps() == [1, 2]


def test_digest_sees_one_bit_the_name_and_the_shape():
    a = torch.zeros(4)
    b = a.clone()
    b[3] = -0.0
    assert digest({"a": a}) == digest({"a": a.clone()})
    assert len({digest(x) for x in ({"a": a}, {"a": b}, {"b": a}, {"a": a.view(2, 2)})}) == 4
