"""report.html, one file that opens offline: of a run, a comparison, a measure. The templates escape what is shown."""

import time
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from firth import __version__
from firth.report import comparison_page, measure_page, run_page
from firth.train.folder import whole_file


def write_comparison(comparison, path) -> Path:
    """The report of an evaluate.comparison.Comparison, written to `path`."""
    return _write(path, render("comparison.html", comparison_page.content(comparison)))


def write_run(folder, path=None) -> Path:
    """The report of a run folder, written to its report.html unless `path` says otherwise."""
    return _write(path or Path(folder) / "report.html", render("run.html", run_page.content(Path(folder))))


def write_measured(measured, path, command: str | None = None) -> Path:
    """The page of an evaluate.measuring.Measured, written to `path`. command: what was typed."""
    return _write(path, render("measure.html", measure_page.content(measured, command)))


def render(template: str, content: dict[str, Any]) -> str:
    """A template of templates/ with style and script in it."""
    own = {"style": _asset("style.css"), "script": _asset("script.js"), "version": __version__}
    return _environment().get_template(template).render(content | own | {"made": time.strftime("%d %B %Y")})


@cache
def _environment() -> Environment:
    loader = PackageLoader("firth.report", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _asset(name: str) -> Markup:
    """Our own style and script go into the page as they are."""
    return Markup(files("firth.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _write(path, text: str) -> Path:
    """Whole, or not at all: a page that was there stays until the new one is done. Raises InputError, RunError."""
    with whole_file(path) as file:
        file.write(text)
    return Path(path)
