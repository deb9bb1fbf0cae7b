"""Reads the source as text and syntax trees, for the tests that hold the house to its own rules."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "firth"

ORDER = [
    {"__init__", "__main__"},  # the door: reaches every room, but only when called
    {"errors", "find"},  # used everywhere
    {"functional", "distributed", "model"},
    {"signal"},
    {"signals"},
    {"objective"},
    {"task"},
    {"objectives", "tasks", "starts"},
    {"data", "interop"},
    {"recipe"},
    {"train"},
    {"evaluate"},
    {"report"},
    {"serving"},
    {"options"},
    {"verbs"},
    {"cli", "play"},
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def sources(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def room(path: Path) -> str:
    """firth/train/loop.py → train; firth/cli.py → cli."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every module of firth that a file imports, dotted, and the line; imports inside functions count."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.startswith("firth"))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("firth"):
            yield from _members(node)


def _members(node: ast.ImportFrom) -> Iterator[tuple[str, int]]:
    for alias in node.names:
        yield f"{node.module}.{alias.name}", node.lineno


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function, decorators and docstring left out."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - _first_line(node) + 1


def _first_line(node) -> int:
    """The line of the first statement after the docstring, one less for the `def` itself."""
    body = node.body
    documented = isinstance(body[0], ast.Expr) and isinstance(getattr(body[0], "value", None), ast.Constant)
    start = body[1].lineno if documented and len(body) > 1 else body[0].lineno
    return start - 1


def raises(path: Path) -> Iterator[tuple[str, int, int]]:
    """Class name, number of arguments and line of every `raise Class(...)`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name = getattr(node.exc.func, "id", getattr(node.exc.func, "attr", "?"))
            yield name, len(node.exc.args) + len(node.exc.keywords), node.lineno


def errors_made(path: Path, classes: set[str]) -> int:
    """How often one of these classes is called with at least three arguments."""
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    return sum(getattr(c.func, "id", "") in classes and len(c.args) + len(c.keywords) >= 3 for c in calls)


def code_lines(folder: Path) -> int:
    """Lines that are neither blank nor comment."""
    return sum(
        1
        for path in sources(folder)
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.strip().startswith("#")
    )
