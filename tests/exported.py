"""Model folders of every shape and head, with a tokenizer, made without training: what `firth export` is tried on."""

from functools import cache
from pathlib import Path

from firth import find
from firth.interop.folder import save_folder
from firth.model.encoder import Backbone
from firth.model.shape import Shape
from firth.model.sizes import shape_of
from firth.objective import Composed, Objective
from firth.objectives import next_token
from firth.signals.text import Config, Text
from firth.train.session import ends
from tests.llamas import texts
from tests.material import documents
from tests.models import LOCAL, shaken

CONTEXT = 24
FORMS = {"bert": ("bert", {}), "modernbert": ("modernbert", {}), "local": ("modernbert", LOCAL)}
HEADS: dict[str, tuple[str, dict]] = {  # name: (task or objective, settings of its own)
    "masked-tokens": ("masked-tokens", {}),
    "classify": ("classify", {}),
    "pairs": ("pairs", {}),
    "number": ("pairs", {"kind": "number", "center": 2.5, "scale": 1.5}),
    "tag": ("tag", {}),
    "span": ("span", {}),
}
CLASSES = ("bad", "middling", "good")


@cache
def text() -> Text:
    return Text.fit(documents(60), Config(vocabulary=200, context=CONTEXT))


def write_writer(folder: Path, kind: str, name: str = "llama", **own) -> Path:
    """A model folder that a run of next tokens leaves. kind: of tokenizer; own: fields of Shape."""
    config = Config(tokenizer=kind, frame="stream", vocabulary=400, context=CONTEXT, lowercase=False)
    signal = Text.fit(texts(), config)
    shape = shape_of(name, "2x32", signal.facts.vocabulary, CONTEXT, **{"heads": 4, "dropout": 0.0} | own)
    backbone = Backbone(shape, signal.embed(shape))
    part = next_token.NextToken(next_token.Config().fill(signal.facts), backbone)
    objective = shaken(Composed(backbone, {"next-token": part}), shape)
    facts = {"objective": ["next-token"], "signal": "text", **ends(signal.facts)}
    save_folder(folder, shape, objective.state_dict(), facts=facts)
    signal.save(folder)
    return folder


def shape_named(form: str, layers: int = 2) -> Shape:
    name, own = FORMS[form]
    return shape_of(name, f"{layers}x32", text().facts.vocabulary, CONTEXT, heads=4, dropout=0.0, **own)


def write_model(folder: Path, form: str, head: str | None, layers: int = 2) -> Path:
    """A model folder as a run leaves it; head None: the encoder alone."""
    signal, shape = text(), shape_named(form, layers)
    backbone = Backbone(shape, signal.embed(shape))
    parts, facts, classes = {}, {"signal": "text"}, ()
    if head is not None:
        part, own = HEADS[head]
        kind = "tasks" if part in find.names("tasks") else "objectives"
        module = find.find(kind, part)
        classes = CLASSES if kind == "tasks" and head not in ("number", "span") else ()
        config = module.Config(**own).fill(signal.facts._replace(classes=classes))
        parts = {part: find.main_class(module, Objective)(config, backbone)}
        facts |= {"task": part, "classes": list(classes), **getattr(parts[part], "facts", {})}
    objective = shaken(Composed(backbone, parts), shape)
    save_folder(folder, shape, objective.state_dict(), classes, facts)
    signal.save(folder, segments=bool(shape.segments))
    return folder
