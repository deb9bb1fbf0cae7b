"""firth: self-supervised learning on your own files. The verbs of the command line, as Python calls."""

from functools import wraps
from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

VERBS = {
    "adapt": "firth.train.adapt.adapt",
    "check": "firth.evaluate.doctor.check",
    "company": "firth.evaluate.company.company",
    "compare": "firth.evaluate.versus.versus",
    "demo": "firth.evaluate.demo.demo",
    "embed": "firth.evaluate.vectors.embed",
    "export": "firth.evaluate.export.export",
    "load": "firth.evaluate.model.load",
    "measure": "firth.evaluate.measuring.measure",
    "predict": "firth.evaluate.predict.predict",
    "pretrain": "firth.train.pretrain.pretrain",
    "score": "firth.evaluate.scoring.score",
    "runs": "firth.train.runs.runs",
    "serve": "firth.serving.server.serve",
    "units": "firth.evaluate.units.units",
}


def __getattr__(name: str):
    """A verb is imported when it is first asked for, so that `import firth` is quick."""
    if name not in VERBS:
        raise AttributeError(f"firth: there is no `{name}`. It has: {', '.join(VERBS)}.")
    module, _, function = VERBS[name].rpartition(".")
    verb = getattr(import_module(module), function)
    wrap = {"adapt": reporting, "pretrain": reporting, "demo": comparing, "compare": comparing, "load": None}
    wrapped = wrap.get(name, showing)
    return wrapped(verb) if wrapped else verb


def __dir__() -> list[str]:
    return [*VERBS, "__version__"]


def showing(verb):
    """A verb that prints as the command line does where it is called with show=True."""

    @wraps(verb)
    def call(*given, **options):
        if options.get("show") is True:
            options["show"] = import_module("firth.report.terminal").Terminal()
        return verb(*given, **options)

    return call


def reporting(verb):
    """A verb that trains; report.html is written into the run folder that it returns the Result of."""

    @wraps(verb)
    def call(*given, **options):
        result = showing(verb)(*given, **options)
        write_report(result)
        return result

    return call


def comparing(verb):
    """A verb that hands a comparison to `report`; unless given, that writes report.html."""

    @wraps(verb)
    def call(*given, **options):
        report = import_module("firth.report.html").write_comparison
        return showing(verb)(*given, **{"report": report} | options)

    return call


def write_report(result) -> Path | None:
    """report.html of the run that a Result is of; None for a dry run, and of ranks but the main."""
    if result.status == "planned" or not import_module("firth.train.ranks").leads():
        return None
    return import_module("firth.report.html").write_run(result.folder)
