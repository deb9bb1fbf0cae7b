"""`firth check`: the doctor's report on data, printed, and kept where asked for."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from firth.data.check import Report
from firth.data.config import listed
from firth.data.kind import signal_of
from firth.evaluate.answers import as_json
from firth.find import find, main_class
from firth.recipe import Recipe, apply_settings, config_of, load_toml
from firth.signal import Signal
from firth.train.folder import free_place, whole_file
from firth.train.log import Show, Silent
from firth.train.pretrain import keys


def check(
    paths: str | Path | Iterable[str | Path],
    text: str | None = None,
    label: str | None = None,
    valid: Iterable[str] = (),
    test: Iterable[str] = (),
    document: str | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
    config: str | Path | None = None,
    out: str | Path | None = None,
    show: Show | None = None,
    dry_run: bool = False,
) -> Report:
    """Read the data as training would; nothing bad raises but missing paths.

    text, label, valid, test, document: as in the recipe's table `data`, from where they come if not given here.
    out: a file for the report as JSON, which a dry run does not write. Raises InputError where there is nothing to look
    at, and for an `out` that is there already.
    """
    place = free_place(out, streams=True) if out else None
    given = {"text": text, "label": label, "valid": tuple(valid), "test": tuple(test), "document": document}
    recipe = apply_settings(load_toml(config) if config else Recipe(), settings)
    recipe = apply_settings(recipe, {f"data.{key}": value for key, value in given.items() if value})
    files = listed(paths)
    data = recipe.data.model_copy(update={"paths": files} if files else {})
    name = recipe.signal if config or "signal" in keys(settings) else signal_of(data.paths)
    cls: Any = main_class(find("signals", name), Signal)
    module = import_module(f"firth.data.{cls.doctor}")
    report = module.look(data, cls, config_of(recipe, "signals", name))
    for line in report.lines():
        (show or Silent()).note(line)
    if place and not dry_run:
        with whole_file(place) as file:
            file.write(as_json(report.as_dict()))
    return report
