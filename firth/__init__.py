"""firth: self-supervised learning on your own files. The verbs of the command line, as Python calls."""

from functools import wraps
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

VERBS = {
    "adapt": "firth.train.adapt",
    "check": "firth.evaluate.doctor",
    "company": "firth.evaluate.company",
    "compare": "firth.evaluate.compare",
    "demo": "firth.evaluate.demo",
    "embed": "firth.evaluate.vectors",
    "export": "firth.evaluate.export",
    "load": "firth.evaluate.predict",
    "measure": "firth.evaluate.measuring",
    "predict": "firth.evaluate.predict",
    "pretrain": "firth.train.pretrain",
    "score": "firth.evaluate.scoring",
    "runs": "firth.train.runs",
    "serve": "firth.serving.server",
    "units": "firth.evaluate.units",
}


def __getattr__(name: str):
    """A verb is imported when it is first asked for, so that `import firth` is quick."""
    if name not in VERBS:
        raise AttributeError(f"firth: there is no `{name}`. It has: {', '.join(VERBS)}.")
    verb = getattr(import_module(VERBS[name]), name)
    wrap = {"adapt": reporting, "pretrain": reporting, "demo": comparing}.get(name)
    return wrap(verb) if wrap else verb


def __dir__() -> list[str]:
    return [*VERBS, "__version__"]


def reporting(verb):
    """A verb that trains; report.html is written into the run folder that it returns the Result of."""

    @wraps(verb)
    def call(*given, **options):
        result = verb(*given, **options)
        write_report(result)
        return result

    return call


def comparing(verb):
    """A verb that hands a comparison to `report`; unless given, that writes report.html."""

    @wraps(verb)
    def call(*given, **options):
        return verb(*given, **{"report": import_module("firth.report.html").write_comparison} | options)

    return call


def write_report(result) -> Path | None:
    """report.html of the run that a Result is of; None for a dry run, which has no folder."""
    return None if result.status == "planned" else import_module("firth.report.html").write_run(result.folder)
