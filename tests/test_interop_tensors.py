"""Files of weights: what is read comes back to the bit, what is damaged is named, what is half written never shows."""

import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from firth.errors import InputError, RunError
from firth.interop import tensors

QUICK = settings(max_examples=30, deadline=None)
KINDS = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]


def some(seed: int = 0) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {f"part.{kind}": torch.randn(3, 4, generator=source).to(kind) for kind in KINDS}


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def said(kind, call, *given_) -> str:
    with pytest.raises(kind) as caught:
        call(*given_)
    return str(caught.value)


# ------------------------------------------------------------------ weights


@QUICK
@given(st.dictionaries(st.text("abc.", min_size=1, max_size=6), st.lists(st.integers(0, 3), max_size=3), max_size=4))
def test_any_shape_comes_back(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    state = {name: torch.rand(shape) for name, shape in shapes.items()}
    tensors.write_file(path, state)
    assert equal(tensors.read_file(path), state)


def test_every_type_comes_back(tmp_path):
    tensors.write_file(tmp_path / "a.safetensors", some())
    found = tensors.read_file(tmp_path / "a.safetensors")
    assert equal(found, some()) and {t.dtype for t in found.values()} == set(KINDS)


def test_views_and_gradients_are_written_as_plain_numbers(tmp_path):
    whole = torch.nn.Parameter(torch.arange(12.0).reshape(3, 4))
    tensors.write_file(tmp_path / "a", {"turned": whole.t(), "row": whole[1]})
    found = tensors.read_file(tmp_path / "a")
    assert torch.equal(found["turned"], whole.t()) and torch.equal(found["row"], whole[1])
    assert not found["row"].requires_grad


def test_one_file_is_taken_before_an_index(tmp_path):
    tensors.write_file(tmp_path / tensors.WEIGHTS, some(1))
    (tmp_path / tensors.INDEX).write_text("{}")
    assert equal(tensors.read_weights(tmp_path), some(1))


def test_several_files_are_one_model(tmp_path):
    state = some()
    names = sorted(state)
    save_file({name: state[name] for name in names[:2]}, tmp_path / "one.safetensors")
    save_file({name: state[name] for name in names[2:]}, tmp_path / "two.safetensors")
    places = {name: "one.safetensors" if name in names[:2] else "two.safetensors" for name in names}
    (tmp_path / tensors.INDEX).write_text(json.dumps({"weight_map": places}))
    assert tensors.shards(tmp_path / tensors.INDEX) == ["one.safetensors", "two.safetensors"]
    assert equal(tensors.read_weights(tmp_path), state)


@pytest.mark.parametrize("name", ["../a.safetensors", "sub/a.safetensors", "/etc/a.safetensors", "weights.bin", ".."])
def test_an_index_names_only_what_lies_beside_it(tmp_path, name):
    (tmp_path / tensors.INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    found = said(InputError, tensors.read_weights, tmp_path)
    what = f"names `{name}`, which is no .safetensors file beside it. Use another model."
    assert found == f"{tmp_path / tensors.INDEX}: {what}"


@pytest.mark.parametrize("tree", [{}, {"weight_map": None}, {"weight_map": ["a"]}])
def test_an_index_without_a_map(tmp_path, tree):
    (tmp_path / tensors.INDEX).write_text(json.dumps(tree))
    assert "has no `weight_map`" in said(InputError, tensors.read_weights, tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt"])
def test_a_pickle_is_never_opened(tmp_path, name):
    (tmp_path / name).write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")
    found = said(InputError, tensors.read_weights, tmp_path)
    assert found == (
        f"{tmp_path}: holds its weights as a pickle only (`{name}`), which can run any program when opened. "
        "Convert it with its own tool to model.safetensors; firth reads no other form."
    )
    assert not os.path.exists("hacked")


def test_a_pickle_beside_weights_is_no_trouble(tmp_path):
    tensors.write_file(tmp_path / tensors.WEIGHTS, some())
    (tmp_path / "training.pt").write_bytes(b"anything")
    assert equal(tensors.read_weights(tmp_path), some())


def test_a_folder_without_pickles_passes(tmp_path):
    (tmp_path / "notes.txt").touch()
    tensors.refuse_pickles(tmp_path)


@pytest.mark.parametrize("cut", [0, 4, 9, 200])
def test_a_cut_file_is_named(tmp_path, cut):
    path = tmp_path / "a.safetensors"
    tensors.write_file(path, some())
    path.write_bytes(path.read_bytes()[:cut])
    expected = f"{path}: is no whole safetensors file. Copy it again from where the model came from."
    assert said(InputError, tensors.read_file, path) == expected


def test_a_file_that_is_not_there(tmp_path):
    found = said(InputError, tensors.read_file, tmp_path / "a")
    assert found == f"{tmp_path / 'a'}: cannot be read (No such file or directory). Check the file and its permissions."
    assert "Is a directory" in said(InputError, tensors.read_file, tmp_path)


# ------------------------------------------------------------------ writing


def test_what_is_replaced_is_whole_before_it_shows(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with tensors.replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old" and partial.parent == path.parent
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
def test_a_failed_write_leaves_the_old(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")

    def fail():
        with tensors.replacing(path) as partial:
            partial.write_text("half")
            raise error

    expected = f"{path}: cannot be written ({error.strerror}). Make room or choose another --out, then run again."
    assert said(RunError, fail) == expected
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_other_faults_are_not_called_a_full_disk(tmp_path):
    with pytest.raises(KeyError), tensors.replacing(tmp_path / "a") as partial:
        partial.write_text("half")
        raise KeyError("a fault of the caller")


def test_a_folder_that_is_not_there_is_told_as_the_file(tmp_path):
    found = said(RunError, tensors.write_file, tmp_path / "no" / "a", some())
    assert found.startswith(f"{tmp_path / 'no' / 'a'}: cannot be written (No such file or directory")


# ------------------------------------------------------------------ JSON

TREES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists),
    max_size=4,
)


@QUICK
@given(TREES)
def test_json_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("json") / "a.json"
    tensors.write_json(path, tree)
    assert tensors.read_json(path) == tree and path.read_text().endswith("\n")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"a"', "null", "\x00"])
def test_what_is_no_object_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    expected = f"{path}: is no JSON object. Copy it again from where the model came from."
    assert said(InputError, tensors.read_json, path) == expected


def test_json_that_is_no_text(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff\xfe\x00{")
    assert "is no JSON object" in said(InputError, tensors.read_json, path)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (ValueError("plain"), "plain"),
        (ValueError("Error while serializing: I/O error: disk gone (os error 5)"), "disk gone"),
    ],
)
def test_a_reason_has_no_place_in_it(error, text):
    assert tensors.reason(error) == text
