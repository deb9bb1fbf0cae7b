"""Requests that contradict themselves, refused before any data is read."""

import filecmp
import os
from collections.abc import Iterable
from typing import Any

from firth.data.config import Data
from firth.data.files import File, expand
from firth.data.records import Problems
from firth.errors import InputError
from firth.model.sizes import ALIKE, parse_size
from firth.recipe import Recipe
from firth.train import ranks

SHAPE_KEYS = ("size", "layers", "width", "heads", "intermediate", "key_heads", "tied", "shape")
NAMES = {"shape": "name", "key_heads": "groups"}  # of the same in Shape
OWN_FILE = "Give {} a file of its own, or leave it out: {}."
WITHOUT = {"--test": "the validation part is then scored", "--valid": "a part is then split off to validate on"}


def refuse_ranks() -> None:
    """Raises InputError under torchrun: of the verbs `pretrain` alone knows of ranks (train/ranks.py)."""
    if ranks.several():
        world = os.environ["WORLD_SIZE"]
        raise InputError(
            "environment",
            f"WORLD_SIZE is {world}, and this command runs as one process: each would write the same folder",
            "Start it without torchrun, or unset WORLD_SIZE; pretrain runs on several.",
        )


def refuse_other_shape(recipe: Recipe, given: Iterable[str], config: Recipe | None, option: str) -> None:
    """Raises InputError for a size or shape beside a model that has another.

    given: dotted keys that a person set. config: the recipe they are set on; its own keys count where it names the same
    model, for then they were written beside it. option: how the model was given, as in `--from`.
    """
    if not recipe.model.source:
        return
    beside = config is not None and config.model.source == recipe.model.source
    asked = {key: getattr(recipe.model, key) for key in SHAPE_KEYS if f"model.{key}" in given or beside}
    asked = {key: value for key, value in asked.items() if value is not None}
    if asked:
        _compare(asked, recipe.model.source, option)


def _compare(asked: dict[str, Any], source: str, option: str) -> None:
    from firth.interop.folder import open_shape  # torch comes with it

    shape = open_shape(source)
    for key, value in asked.items():
        named = getattr(shape, "size", None)  # of a convolution net
        has = named or (shape.layers, shape.width) if key == "size" else getattr(shape, NAMES.get(key, key), None)
        wanted = value if key != "size" or named or value in ALIKE else parse_size(value)
        if has != wanted:
            shown = "{}x{}".format(*has) if isinstance(has, tuple) else has
            raise InputError(
                f"model.{key} = {value}",
                f"{source} has {shown}, and {option} takes the shape along with the weights",
                "Leave it out, or name a model of that shape.",
            )


def signal_of_source(recipe: Recipe) -> str:
    """The signal of the model that a run goes on from; what is wrong with its folder is told where it is opened."""
    from firth.interop.folder import open_signal_name  # torch comes with it

    try:
        return open_signal_name(recipe.model.source)
    except InputError:
        return recipe.signal


def refuse_start(recipe: Recipe, given: Iterable[str]) -> None:
    """Raises InputError where weights are to come from a model and from a start as well."""
    if recipe.model.source and "model.start" in given:
        what = f"is not used with --from: the weights come from {recipe.model.source}"
        raise InputError(f"model.start = {recipe.model.start}", what, "Leave out one of the two.")


def refuse_adapting_keys(recipe: Recipe) -> None:
    """Raises InputError for keys that mean something where a task is learnt only."""
    model = recipe.model
    numbers = {f"model.{key} = {getattr(model, key)}": getattr(model, key) for key in ("reinitialise", "lora")}
    keys = {"model.frozen = true": model.frozen, "model.layer_sum = true": model.layer_sum, **numbers}
    for key, given in keys.items():
        if given:
            raise InputError(key, "is a key of adapt: pre-training trains the whole encoder", "Leave it out.")


def refuse_adapters(recipe: Recipe) -> None:
    """Raises InputError for adapters that could not learn, or of a rank beyond that of what they are added to."""
    rank = recipe.model.lora
    if not rank:
        return
    from firth.interop.folder import open_shape  # torch comes with it

    where, shape = f"model.lora = {rank}", open_shape(recipe.model.source)
    width = shape.width
    if shape.causal:
        what = f"adapters are made for bert and modernbert, and {recipe.model.source} is a {shape.name}"
        raise InputError(where, what, "Leave it out.")
    if recipe.model.frozen:
        raise InputError(where, "in a frozen encoder nothing learns, adapters neither", "Leave out one of the two.")
    if rank > width:
        raise InputError(
            where, f"the maps are {width} wide: no rank is higher", "Set a low rank, such as model.lora=8."
        )


def refuse_reinitialising(recipe: Recipe) -> None:
    """Raises InputError where more blocks are to be drawn anew than there are, or where they could not learn."""
    blocks = recipe.model.reinitialise
    if not blocks:
        return
    from firth.interop.folder import open_shape  # torch comes with it

    where, layers = f"model.reinitialise = {blocks}", open_shape(recipe.model.source).layers
    if recipe.model.frozen or recipe.model.lora:
        how = "a frozen encoder" if recipe.model.frozen else "an encoder that is held for adapters"
        raise InputError(where, f"in {how}, blocks drawn anew would stay random", "Leave out one of the two.")
    if blocks > layers:
        do = f"Set model.reinitialise={layers} or less."
        raise InputError(where, f"{recipe.model.source} has {layers} block{'s' * (layers > 1)}", do)


def refuse_same_files(data: Data) -> None:
    """Raises InputError where a part is left without an example, because all its files are those of another part.

    Single texts that lie in two parts are no error: they are dropped from the part that is learnt from.
    """
    train, valid, test = (
        _files(paths) if data.valid or data.test else [] for paths in (data.paths, data.valid, data.test)
    )
    if _inside(valid, test):
        _refuse("--valid", data.valid, "is also given as --test: nothing is left to validate on")
    if _inside(train, valid + test):
        option, paths = ("--test", data.test) if _shared(train, test) else ("--valid", data.valid)
        _refuse(option, paths, "is the training data, too: nothing is left to learn from")


def _refuse(option: str, paths: tuple[str, ...], what: str) -> None:
    raise InputError(f"{option} {' '.join(paths)}", what, OWN_FILE.format(option, WITHOUT[option]))


def _files(paths: tuple[str, ...]) -> list[File]:
    """What is not there is told when it is read."""
    try:
        return expand(paths, Problems(skip=True)) if paths else []
    except InputError:
        return []


def _inside(part: list[File], other: list[File]) -> bool:
    """Whether there are files, and each is one of the others."""
    return bool(part) and all(_shared([file], other) for file in part)


def _shared(part: list[File], other: list[File]) -> bool:
    return any(_same(one, two) for one in part for two in other)


def _same(one: File, two: File) -> bool:
    """One file, by whatever name, or a copy of it."""
    if one.member or two.member:
        return (os.path.realpath(one.path), one.member) == (os.path.realpath(two.path), two.member)
    return one.size == two.size and filecmp.cmp(one.path, two.path, shallow=False)
