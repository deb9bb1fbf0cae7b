"""The architecture, held from outside: sizes, import directions, errors, and who may do what."""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import (
    PACKAGE,
    RANK,
    ROOT,
    code_lines,
    errors_made,
    functions,
    imports,
    raises,
    room,
    sources,
    tree,
)  # fmt: skip

ALL = sources()
THREE_PARTS = {"InputError", "RunError", "Interrupted", "FirthError", "Refusal"}


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", ALL + sources(ROOT / "tests") + sources(ROOT / "benchmarks"), ids=shown)
def test_a_file_fits_in_a_head(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_functions_are_short():
    lengths = sorted(length for path in ALL for _, length in functions(path))
    assert statistics.median(lengths) <= 8
    assert lengths[int(0.95 * len(lengths))] <= 40


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_imports_point_one_way(path):
    own = RANK[room(path)]
    if own == 0:
        return
    wrong = [
        f"{shown(path)}:{line} imports {name}" for name, line in imports(path) if RANK.get(name.split(".")[1], 0) > own
    ]
    assert not wrong


def test_every_room_has_a_place_in_the_order():
    assert {room(path) for path in ALL} <= set(RANK)


@pytest.mark.parametrize("path", sources(PACKAGE / "train"), ids=shown)
def test_training_knows_no_method(path):
    concrete = ("firth.objectives.", "firth.signals.", "firth.tasks.", "firth.starts.")
    assert not [name for name, _ in imports(path) if name.startswith(concrete)]


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_collectives_live_in_one_file(path):
    if path.name == "distributed.py":
        return
    text = path.read_text(encoding="utf-8")
    assert "torch.distributed" not in text and "all_reduce" not in text


@pytest.mark.parametrize("path", ALL, ids=shown)
def test_no_branch_on_the_modality_outside_signals(path):
    if room(path) == "signals":
        return
    compared = [node.lineno for node in ast.walk(tree(path)) if isinstance(node, ast.Compare) and _names_a_signal(node)]
    assert not compared, f"{shown(path)}: lines {compared} ask which signal it is"


def _names_a_signal(node: ast.Compare) -> bool:
    left = getattr(node.left, "attr", getattr(node.left, "id", ""))
    constants = [c.value for c in node.comparators if isinstance(c, ast.Constant)]
    return left in {"signal", "modality"} and any(isinstance(c, str) for c in constants)


def test_messages_say_where_what_and_what_to_do():
    """Errors made by a helper (`raise not_a_number(...)`) are counted where the helper makes them."""
    full = sum(errors_made(path, THREE_PARTS) for path in ALL)
    bare = [name for path in ALL for name, _, _ in raises(path) if name[0].isupper() and name not in THREE_PARTS]
    bare = [name for name in bare if name not in {"NotImplementedError", "Exit", "StopIteration"}]
    assert full >= 0.9 * (full + len(bare))


def test_nothing_dangerous_is_called():
    for path in ALL:
        calls = [node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
        names = {getattr(f, "id", "") for f in calls}
        assert not names & {"eval", "exec"}, shown(path)
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text and "torch.load(" not in text, shown(path)


def test_there_is_at_least_as_much_test_as_source():
    assert code_lines(ROOT / "tests") >= code_lines(PACKAGE)


@pytest.mark.parametrize(
    "module", ["firth", "firth.cli", "firth.options", "firth.recipe", "firth.find", "firth.errors"]
)
def test_the_door_does_not_import_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
