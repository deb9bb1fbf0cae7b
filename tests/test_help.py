"""What a person reads when they ask for help, word for word; FIRTH_GOLDEN=write writes it anew."""

import os
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from firth.cli import app
from firth.find import names
from firth.recipe import TABLES, Recipe, filled
from firth.train import adaptation
from firth.train.adapt import DEFAULTS
from tests.house import ROOT, sources

GOLDEN = Path(__file__).parent / "golden" / "help"
VERBS = sorted(get_command(app).commands)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)


def help_of(*words: str) -> str:
    environment = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1", "TERMINAL_WIDTH": "100"}
    done = CliRunner().invoke(app, [*words, "--help"], env=environment, terminal_width=100, max_content_width=100)
    assert done.exit_code == 0
    return re.sub(r"[ \t]+\n", "\n", done.output).strip() + "\n"


@pytest.mark.parametrize("verb", ["firth", *VERBS])
def test_help_word_for_word(verb):
    path = GOLDEN / f"{verb}.txt"
    text = help_of(*([] if verb == "firth" else [verb]))
    if os.environ.get("FIRTH_GOLDEN") == "write":
        GOLDEN.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_no_help_is_left_of_a_verb_that_is_gone():
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == sorted(["firth", *VERBS])


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_says_what_it_does(verb):
    silent = [p.name for p in get_command(app).commands[verb].params if not getattr(p, "help", None)]
    assert silent == []


@pytest.mark.parametrize("verb", VERBS)
def test_options_are_full_words(verb):
    for parameter in get_command(app).commands[verb].params:
        for option in parameter.opts:
            assert not option.startswith("--") or re.fullmatch(r"--[a-z]{2,}(-[a-z]+)*", option), option


@pytest.mark.parametrize("verb", VERBS)
def test_the_same_option_means_the_same_everywhere(verb):
    """--out says what it writes; where an option changes nothing it is hidden."""
    ours = {p.name: p for p in get_command(app).commands[verb].params if not getattr(p, "hidden", False)}
    for other in VERBS:
        for parameter in get_command(app).commands[other].params:
            if parameter.name in ours and parameter.name in {"seed", "device", "settings", "dry_run"}:
                same = getattr(parameter, "hidden", False) or parameter.help == ours[parameter.name].help
                assert same and parameter.opts == ours[parameter.name].opts


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_said_in_a_few_words_and_shown_by_example(verb):
    command = get_command(app).commands[verb]
    commands = help_of().partition("Commands:")[2]
    assert command.short_help in commands and "..." not in commands
    examples = [line.split() for line in command.epilog.splitlines() if line.startswith("  ")]
    assert examples and all(words[:2] == ["firth", verb] for words in examples)
    offered = {
        name for parameter in command.params if not getattr(parameter, "hidden", False) for name in parameter.opts
    }
    assert {word for words in examples for word in words if word.startswith("--")} <= offered


def test_every_objective_is_named_once():
    offered = next(p for p in get_command(app).commands["pretrain"].params if p.name == "objective").help
    assert [offered.count(f" {name}") for name in names("objectives")] == [1] * len(names("objectives"))


# ------------------------------------------------------------------ the pages and the package agree


def words_of_pages() -> str:
    return "\n".join(page.read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("name", names("objectives"))
def test_every_objective_has_a_page(name):
    page = ROOT / "docs" / f"{name}.md"
    assert page.exists() and "firth pretrain" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", names("starts"))
def test_every_start_has_a_page(name):
    assert (ROOT / "docs" / f"{name}-start.md").exists() or (ROOT / "docs" / f"{name}.md").exists()


def settings_in_pages() -> list[str]:
    """The keys after --set in all commands."""
    found = []
    for page in PAGES:
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            found += [w.split("=")[0] for line in block.splitlines() for w in _set_values(line)]
    inline = re.findall(r"--set ([a-z_]+\.[a-z_]+)=", words_of_pages())
    return sorted({*found, *inline})


def _set_values(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    return [after for word, after in pairwise(words) if word == "--set"]


def test_settings_in_pages_are_recipe_keys():
    from firth.recipe import _fields

    for key in settings_in_pages():
        table, _, name = key.rpartition(".")
        assert name in _fields(table), key


@pytest.mark.parametrize("key", [f"{table}.{name}" for table, own in TABLES.items() for name in own.model_fields])
def test_the_page_on_recipes_lists_every_key(key):
    assert f"`{key}`" in (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")


def of_adapt() -> dict[str, tuple[str, str]]:
    """By key: what the page on recipes says of its default, and of that of adapt, where that is another."""
    text = (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8")
    rows = [row.split(" |") for row in re.findall(r"^\| (`\w+\.\w+`.*) \|$", text, re.M) if row.count(" |") == 3]
    return {key: (row[1], row[2]) for row in rows for key in re.findall(r"`(\w+\.\w+)`", row[0])}


def numbers(cell: str) -> set[float]:
    found = re.findall(r"\d[\d,]*(?:\.\d+)?(?:e-?\d+)?", cell)
    return {float(number.replace(",", "")) for number in found}


def test_the_page_on_recipes_tells_what_adapt_does_otherwise():
    told, plain, own = of_adapt(), Recipe(), DEFAULTS
    for table in ("model", "optimizer", "train"):
        for name, value in getattr(own, table):
            if value != getattr(getattr(plain, table), name):
                values = value if isinstance(value, tuple) else (value,)
                cell = told[f"{table}.{name}"][1]
                assert all(str(one) in cell if isinstance(one, str) else one in numbers(cell) for one in values), name


@pytest.mark.parametrize(
    ("key", "rule"),
    [("optimizer.lr", {adaptation.LR, adaptation.HEAD_LR, adaptation.LORA_LR, 256}),
     ("train.steps", {adaptation.EPOCHS, adaptation.FEW_EPOCHS, adaptation.FEW_STEPS}),
     ("train.patience", {adaptation.PATIENCE, adaptation.ENOUGH, 0})],
)  # fmt: skip
def test_the_page_on_recipes_tells_the_rules_of_adapt(key, rule):
    assert numbers(of_adapt()[key][1]) == rule


@pytest.mark.parametrize(("count", "batch", "steps"), [(160, 16, 200), (3200, 16, 600), (32_000, 32, 3000)])
def test_adapt_is_as_long_as_the_page_says(count, batch, steps):
    found = adaptation.plan(DEFAULTS, SimpleNamespace(train=range(count), valid=range(adaptation.ENOUGH))).train
    assert (found.batch, found.steps, found.evaluate_every) == (batch, steps, steps // 20)
    asked = filled(DEFAULTS, train={"budget": "2epochs"})
    assert adaptation.plan(asked, SimpleNamespace(train=range(count), valid=())).train.steps == 2 * count // batch


def test_tables_named_in_pages_exist():
    known = {*TABLES, *(name.replace("-", "_") for kind in ("objectives", "tasks", "signals") for name in names(kind))}
    for table in re.findall(r"^\[([a-z_]+)\]$", words_of_pages(), re.M):
        assert table in known, table


def test_extras_that_messages_and_pages_name_exist():
    """And nothing is to be had by the name `firth[…]`, which no index knows."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources())
    named = re.findall(r"""install\(["'](\w+)""", code) + re.findall(
        r"pip install ['\"]\.\[([\w,]+)\]", words_of_pages()
    )
    assert {"data", "demo", "export", "tiff"} <= {name for one in named for name in one.split(",")} <= set(known)
    assert "firth[" not in code + words_of_pages()


def test_the_map_names_every_room():
    text = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    for path in sorted((ROOT / "firth").iterdir()):
        empty = path.is_dir() and not any(path.iterdir())
        if path.name.startswith("_") or path.name == "py.typed" or empty:
            continue
        assert f"`{path.name}`" in text or f"`{path.name}/`" in text, path.name


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name)
def test_every_page_can_be_found(page):
    """By a link in the README or on the map."""
    readme, of_map = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/map.md"))
    assert f"(docs/{page.name}" in readme or f"({page.name}" in of_map


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "decisions").glob("*.md")), ids=lambda p: p.name)
def test_a_decision_says_what_would_change_our_mind(page):
    text = page.read_text(encoding="utf-8").lower()
    for part in ("**wanted.**", "**chose.**", "**revisit if**"):
        assert part in text, f"{page.name} does not say `{part}`"
