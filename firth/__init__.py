"""firth: self-supervised learning on your own files. The verbs of the command line, as Python calls."""

from importlib import import_module

__version__ = "0.1.0"

VERBS = {
    "adapt": "firth.train.adapt",
    "check": "firth.evaluate.doctor",
    "compare": "firth.evaluate.compare",
    "demo": "firth.evaluate.demo",
    "load": "firth.evaluate.predict",
    "predict": "firth.evaluate.predict",
    "pretrain": "firth.train.pretrain",
    "runs": "firth.train.runs",
}


def __getattr__(name: str):
    """A verb is imported when it is first asked for, so that `import firth` is quick."""
    if name not in VERBS:
        raise AttributeError(f"firth: there is no `{name}`. It has: {', '.join(VERBS)}.")
    return getattr(import_module(VERBS[name]), name)


def __dir__() -> list[str]:
    return [*VERBS, "__version__"]
