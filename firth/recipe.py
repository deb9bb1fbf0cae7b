"""The whole run as one typed, frozen tree; TOML in and out; strict keys with "did you mean".

A method's own keys stand in the table of its file name (`masked_tokens.mask_rate`), a signal's likewise
(`text.tokenizer`).
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from firth.data.config import Data, listed
from firth.errors import InputError, did_you_mean
from firth.find import find, names

RECIPES = Path(__file__).parent / "recipes"
Share = Annotated[float, Field(ge=0, lt=1)]
ShapeName = Literal[
    "modernbert", "bert", "llama", "gpt2", "resnet", "vit", "frames", "causal-frames", "wav2vec2", "hubert"
]


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Model(Table):
    """Architecture and where its weights begin."""

    shape: ShapeName | None = None  # None: what goes with the objective
    size: str | None = None  # a name of model/sizes.py or layers x width such as 4x256; None: chosen by the plan
    layers: int | None = Field(None, ge=1)  # filled
    width: int | None = Field(None, ge=1)  # filled
    heads: int | None = Field(None, ge=1)  # filled
    intermediate: int | None = Field(None, ge=1)  # filled
    key_heads: int | None = Field(None, ge=1)  # filled; heads of keys and values, shared by the queries
    patch: int | None = Field(None, ge=1)  # filled; pixels of a side of a patch (vit)
    tied: bool | None = None  # filled; the output map over the vocabulary is the token embedding
    dropout: float | None = Field(None, ge=0, lt=1)  # None: 0 for pre-training, the shape's own for adapting
    source: str | None = None  # --from: a model folder to go on from
    start: str = "co-occurrence"  # a file of starts/, or "random"
    frozen: bool = False  # adapt: the encoder stays as it begins, in evaluation mode; only the head learns
    reinitialise: int = Field(0, ge=0)  # adapt: blocks at the top that begin anew, and all that stands on them
    layer_sum: bool = False  # adapt: the task reads a learnt weighted sum of all layers instead of the last one
    lora: int = Field(0, ge=0)  # adapt: rank of adapters on the attention, which learn alone with the head; 0: none


class Optimizer(Table):
    name: Literal["adamw", "muon"] = "adamw"
    lr: float | None = Field(None, gt=0, allow_inf_nan=False)  # None: chosen by the verb (1e-3 pre-training)
    embedding_lr: float | None = Field(
        None, ge=0, allow_inf_nan=False
    )  # factor on lr, for embeddings; None: by the verb
    layer_decay: float = Field(1.0, gt=0, le=1)  # factor on lr from each layer to the one below; 1: all alike
    muon_lr: float = Field(0.02, gt=0, allow_inf_nan=False)  # for the hidden matrices, with name = "muon"
    betas: tuple[Share, Share] = (0.9, 0.98)
    epsilon: float = Field(1e-8, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(0.01, ge=0, allow_inf_nan=False)  # not on biases, norms and embeddings
    clip: float = Field(1.0, ge=0)  # gradient norm; 0: not clipped


class Train(Table):
    budget: str | None = None  # as typed: 20m, 500steps, 3epochs, 100Mtokens
    steps: int | None = Field(None, ge=1)  # filled by the plan; schedules are counted in it
    batch: int | None = Field(None, ge=1)  # samples per step over all ranks and micro-batches
    micro_batch: int | None = Field(None, ge=1)  # samples per forward; None = batch
    schedule: Literal["wsd", "cosine", "linear", "constant"] = "wsd"
    warmup: float = Field(0.05, ge=0, le=1)  # share of the steps
    decay: float = Field(0.3, ge=0, le=1)  # share of the steps at the end that fall to zero (wsd)
    floor: Share = 0.0  # share of the learning rate that a falling schedule ends at
    precision: Literal["auto", "fp32", "bf16", "fp64"] = "auto"  # filled by the probe
    attention: Literal["auto", "plain", "sdpa"] = "auto"  # filled by the probe
    compile: Literal["auto", "on", "off"] = "auto"  # filled by the probe
    threads: int | None = Field(None, ge=1)  # filled by the probe
    checkpoint_every: int | None = Field(None, ge=1)  # steps; None: about every 60 s, filled
    evaluate_every: int | None = Field(None, ge=1)  # steps; None: about 10 times a run, filled
    evaluate_samples: int | None = Field(None, ge=1)  # held-out, per evaluation; None: 256 or fewer, filled
    patience: int | None = Field(
        None, ge=0
    )  # adapt: evaluations without a better score before it stops and keeps the best weights; 0: the last are kept


class Recipe(Table):
    verb: Literal["pretrain", "adapt"] = "pretrain"
    signal: str = "text"
    objective: tuple[str, ...] = Field(("masked-tokens",), min_length=1)  # names of objectives/, or (adapt) of tasks/
    seed: int = Field(0, ge=0, lt=2**63)
    device: str = "auto"
    data: Data = Data()
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    tables: dict[str, Any] = Field(
        default_factory=dict, description="by file name: Config of each objective and of the signal"
    )


# ------------------------------------------------------------------ TOML in and out; settings by dotted name

TABLES: dict[str, type[BaseModel]] = {"data": Data, "model": Model, "optimizer": Optimizer, "train": Train}
KINDS = ("objectives", "tasks", "signals")  # the folders whose files have a table of their own
SHORT = {name: f"data.{name}" for name in ("text", "label", "valid", "test", "document", "skip_bad")}
SHORT |= {"frozen": "model.frozen"}  # options of verbs, and the keys that they stand for


def named(given: str | Path) -> Path:
    """A file, or one of recipes/ by its name alone. Raises InputError for a name that is neither."""
    path = Path(given)
    if path.exists() or path.suffix or path.name != str(given):
        return path
    known = sorted(one.stem for one in RECIPES.glob("*.toml"))
    if path.name not in known:
        do = f"{did_you_mean(path.name, known)}There is: {', '.join(known)}; or name a file, such as {given}.toml."
        raise InputError(f"--config {given}", "is no file, and no recipe that comes with firth", do)
    return RECIPES / f"{path.name}.toml"


def load_toml(path) -> Recipe:
    """The recipe in a .toml file, or of that name in recipes/.

    Raises InputError naming line and column, or every unknown key at once.
    """
    path = named(path)
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "Check the name after --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            path, f"is no valid TOML: {error}", "Repair that line; https://toml.io shows the form."
        ) from None
    return apply_settings(Recipe(), _flatten(tree), where=str(path))


def to_toml(recipe: Recipe) -> str:
    """The complete recipe as TOML: every field that has a value; reading it back gives an equal recipe."""
    tree = recipe.model_dump(mode="json", exclude={"tables"})
    top = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    tables = {key: tree[key] for key in TABLES} | {key: plain(value) for key, value in recipe.tables.items()}
    blocks = [_pairs(top)] + [f"[{name}]\n{_pairs(table)}" for name, table in tables.items()]
    return "\n\n".join(block.rstrip("\n") for block in blocks) + "\n"


def apply_settings(recipe: Recipe, settings, where: str = "--set") -> Recipe:
    """The recipe with dotted keys changed: ["train.batch=32", "masked_tokens.mask_share=1.0"], or a mapping.

    Keys are strict: all unknown keys and bad values are reported at once, with the nearest name.
    Raises InputError(where, …).
    """
    tree, problems = recipe.model_dump(exclude={"tables"}), []
    tables = {name: dict(plain(table)) for name, table in recipe.tables.items()}
    for key, value in _pairs_of(settings, where).items():
        field = _field(key)
        if isinstance(field, str):
            problems.append((f"`{key}` is no key", field))
        elif (fitting := _fit(field, value)) is BAD:
            problems.append((f"`{key}` cannot be `{value}`", f"`{key}` is {_describe(field)}. "))
        else:
            _store(tree, tables, key, fitting)
    if problems:
        raise _refusal(where, problems)
    return _validated(tree | {"tables": tables}, where)


def after(options: Mapping[str, Any], settings: Iterable[str] | Mapping[str, Any] | None) -> Any:
    """Settings behind others, by dotted key, which they win over: a mapping where they are one, else key=value."""
    if isinstance(settings, Mapping):
        return {**options, **settings}
    return [*(f"{key}={_toml(value)}" for key, value in options.items()), *(settings or ())]


def with_options(settings: Iterable[str] | Mapping[str, Any] | None, **given: Any) -> Any:
    """Settings behind the options that verbs have a short name for; those not given are left out."""
    own = {SHORT[name]: listed(value) if name in ("valid", "test") else value for name, value in given.items()
           if value not in (None, False, (), [])}  # fmt: skip
    return after(own, settings)


def config_of(recipe: Recipe, kind: str, name: str):
    """The Config of a method or signal with the recipe's own table applied. Imports the method's file."""
    table = recipe.tables.get(name.replace("-", "_"), {})
    return table if isinstance(table, BaseModel) else find(kind, name).Config(**table)


def with_table(recipe: Recipe, name: str, config) -> Recipe:
    """The recipe with the (filled) table of a method replaced."""
    return recipe.model_copy(update={"tables": recipe.tables | {name.replace("-", "_"): plain(config)}})


def filled(recipe: Recipe, **tables: dict) -> Recipe:
    """A validated copy with fields changed: filled(recipe, train={"steps": 500}, model={"layers": 4})."""
    changed = {name: getattr(recipe, name).model_copy(update=fields) for name, fields in tables.items()}
    return recipe.model_copy(update=changed)


def plain(table) -> dict[str, Any]:
    """A table as plain numbers, strings and lists."""
    return table.model_dump(mode="json") if isinstance(table, BaseModel) else dict(table)


BAD = object()


def _flatten(tree: dict) -> dict[str, Any]:
    """{"train": {"batch": 8}, "seed": 1} -> {"train.batch": 8, "seed": 1}"""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _pairs_of(settings, where: str) -> dict[str, Any]:
    """key=value strings, or a mapping, as a mapping."""
    if isinstance(settings, Mapping):
        return dict(settings)
    pairs = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{where} {text}", "has no `=`", "Write key=value, as in --set train.batch=32.")
        pairs[key.strip()] = Typed(value.strip())
    return pairs


class Typed(str):
    """A value as a person typed it: TOML where it reads as TOML, a string or a comma list otherwise."""

    def readings(self) -> list[Any]:
        try:
            first = [tomllib.loads(f"value = {self}")["value"]]
        except tomllib.TOMLDecodeError:
            first = []
        none = [None] if self == "none" else []
        return [*none, *first, str(self), [part.strip() for part in self.split(",")]]


def _field(key: str):
    """The pydantic field of a dotted key, or a sentence about which key may have been meant."""
    table, dot, name = key.rpartition(".")
    fields = _fields(table)
    if name in fields and (dot or name not in {*TABLES, "tables"}):
        return fields[name]
    return did_you_mean(key, _known(table, name)) or "docs/recipe.md lists the keys. "


def _fields(table: str) -> dict[str, Any]:
    """The fields of a table by name; nothing for a table that does not exist."""
    if not table or table in TABLES:
        return TABLES[table].model_fields if table else Recipe.model_fields
    kinds = [kind for kind in KINDS if table.replace("_", "-") in names(kind)]
    return find(kinds[0], table).Config.model_fields if kinds else {}


def _known(table: str, name: str) -> list[str]:
    """The dotted keys that a misspelt `table.name` may stand for."""
    if fields := _fields(table):
        return [f"{table}.{field}".lstrip(".") for field in fields if table or field not in {*TABLES, "tables"}]
    own = [f"{own}.{field}" for own, model in TABLES.items() for field in model.model_fields]
    return own + [f"{method.replace('-', '_')}.{name}" for kind in KINDS for method in names(kind)]


def _fit(field, value) -> Any:
    """The value as the field's type, or BAD."""
    adapter = TypeAdapter(Annotated[field.annotation, "", *field.metadata])
    for reading in value.readings() if isinstance(value, Typed) else [value]:
        with suppress(ValidationError):
            return adapter.validate_python(reading)
    return BAD


def _store(tree: dict, tables: dict, key: str, value: Any) -> None:
    """Put a value at its dotted place in the tree, or in the tables of methods."""
    table, dot, name = key.rpartition(".")
    place = tree if not dot else tree[table] if table in TABLES else tables.setdefault(table.replace("-", "_"), {})
    place[name] = value


def _describe(field) -> str:
    """ "one of `wsd`, `cosine`", or the name of the type."""
    choices = list(get_args(field.annotation))
    if any(get_origin(choice) is dict for choice in choices):
        named = [f"`{one}`" for choice in choices if get_origin(choice) is Literal for one in get_args(choice)]
        return f"one of {', '.join(named)}, or numbers by name, as in {{spam = 5}}"
    choices = [inner for choice in choices for inner in get_args(choice) or [choice]]
    choices = [choice for choice in choices if choice is not type(None)] if str in map(type, choices) else choices
    if choices and all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(f'`{choice}`' for choice in choices)}"
    kind = str(getattr(field.annotation, "__name__", field.annotation)) if not choices else str(field.annotation)
    limits = "".join(f", {limit}" for limit in map(_limit, field.metadata) if limit)
    return f"of type {_plain_kind(kind)}{limits}"


def _plain_kind(kind: str) -> str:
    """typing.Annotated[float, …limits] as a person reads it: float, ≥ 0, < 1."""
    return re.sub(r"(?:typing\.)?Annotated\[(\w+), FieldInfo\(.*?metadata=\[Ge\(ge=(\d+)\), Lt\(lt=(\d+)\)\]\)\]",
                  r"\1 ≥ \2 and < \3", kind).replace("typing.", "")  # fmt: skip


def _limit(limit) -> str:
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    return " ".join(f"{sign} {getattr(limit, name)}" for name, sign in signs.items() if hasattr(limit, name))


def _refusal(where: str, problems: list[tuple[str, str]]) -> InputError:
    """All problems in one message; equal hints once."""
    hints = "".join(dict.fromkeys(hint for _, hint in problems))
    return InputError(where, "; ".join(what for what, _ in problems), hints.strip())


def _validated(tree: dict, where: str) -> Recipe:
    """The recipe, its method tables checked as wholes (shares that must sum to 1)."""
    for name, table in tree["tables"].items():
        kind = next(kind for kind in KINDS if name.replace("_", "-") in names(kind))
        try:
            find(kind, name).Config(**table)
        except ValidationError as error:
            what = "; ".join(part["msg"].removeprefix("Value error, ") for part in error.errors())
            raise InputError(f"{where} [{name}]", what, "Change the keys of this table so that they fit.") from None
    return Recipe(**tree)


def _pairs(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in table.items() if value is not None)


def _toml(value: Any) -> str:
    """A TOML literal; floats keep every bit."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return repr(value)
