"""A model folder in the layout of transformers: config.json, model.safetensors, and firth.safetensors for the rest."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from firth.errors import InputError
from firth.interop import bert, frames, gpt2, hubert, llama, modernbert, resnet, vit, wav2vec2
from firth.interop.places import Place, joined
from firth.interop.tensors import OWN, read_file, read_json, read_weights, write_file, write_json
from firth.model.backbones import backbone_of
from firth.model.init import spread_at
from firth.model.shape import AnyShape, Shape
from firth.model.sizes import TRANSFORMERS

TYPES: dict[str, ModuleType] = {
    "bert": bert,
    "modernbert": modernbert,
    "llama": llama,
    "gpt2": gpt2,
    "frames": frames,
    "causal-frames": frames,
    "wav2vec2": wav2vec2,
    "hubert": hubert,
    "vit": vit,
    resnet.THEIRS: resnet,
    resnet.OURS: resnet,
}
CAUSAL = ("ForCausalLM", "LMHeadModel")  # classes there whose output map may be the embedding: then no tensor tells
REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # what weights are themselves, without a scale
READING = (".json", ".txt", ".model")  # tokenizers, and what else says how inputs are read
SEVERAL = "multi_label_classification"
CLASSES = {"ForSequenceClassification": "classify", "ForImageClassification": "classify", 
           "ForTokenClassification": "tag", "ForQuestionAnswering": "span"}  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """What a model folder holds, under the names of a Composed objective."""

    shape: AnyShape
    state: dict[str, Tensor]
    unused: list[str]  # tensors nobody here has a place for, under the folder's own names
    classes: tuple[str, ...] = ()  # names of the labels, in index order, where it is a classifier
    facts: dict[str, Any] = field(default_factory=dict)  # what save_folder was told
    implied: frozenset[str] = frozenset()  # objectives whose heads are there without a tensor of their own

    @property
    def signal(self) -> str:
        """The name of the signal it reads: as the folder says, else by its shape."""
        return self.facts.get("signal") or signal_of(self.shape.name)

    @property
    def parts(self) -> frozenset[str]:
        """The objectives and tasks whose heads are there."""
        return self.implied | {name.split(".")[1] for name in self.state if name.startswith("parts.")}


def save_folder(
    folder,
    shape: AnyShape,
    state: Mapping[str, Tensor],
    classes: tuple[str, ...] = (),
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a model that `transformers` opens: AutoModelForMaskedLM, …ForSequenceClassification with parts.classify,
    AutoModelForCausalLM where the shape is causal.

    state: a Composed objective's state_dict. classes: label names in index order. facts: plain values to keep;
    `pooling` ("first" or "mean"), `problem_type`, `cls_token_id`, … go where transformers looks for them.
    Raises RunError where the disk does not take it.
    """
    folder, facts = Path(folder), dict(facts or {})
    folder.mkdir(parents=True, exist_ok=True)
    form, parts = TYPES[shape.name], parts_in(state, shape)
    task = None if sums_layers(state) else next((name for name in sorted(parts) if name in form.TASKS), None)
    theirs, rest = to_theirs(state, shape, task)
    facts |= found_in(state, shape)
    if task == "span":
        theirs["qa_outputs.bias"] = torch.zeros(2)  # of the class there; it moves no start or end
    write_file(folder / "model.safetensors", form.added(theirs) if hasattr(form, "added") else theirs)
    write_rest(folder / OWN, rest)
    kind = str(next(one.dtype for one in state.values() if one.is_floating_point())).removeprefix("torch.")
    config = {"architectures": [form.architecture(parts, task)], "dtype": kind, **common(shape)}
    config |= {key: facts[key] for key in ("problem_type",) if key in facts}
    names = classes or numbered(state, task) if task and task != "span" else ()
    told = {key: value for key, value in facts.items() if key != "heads"}
    write_json(folder / "config.json", config | form.config_of(shape, facts) | labels(names) | {"firth": told})
    if task is None:
        write_ends(folder, shape, facts)


def parts_in(state: Mapping[str, Tensor], shape: AnyShape) -> set[str]:
    """The parts of a state_dict; that of next tokens has no tensor where its output map is the embedding."""
    parts = {name.split(".")[1] for name in state if name.startswith("parts.")}
    return parts | ({"next-token"} if shape.causal and shape.tied and shape.vocabulary else set())


def sums_layers(state: Mapping[str, Tensor]) -> bool:
    """Whether a head reads all layers: no class of transformers for these shapes does, so that it is kept apart."""
    return any(name.endswith(".layer_sum.weights") for name in state)


def found_in(state: Mapping[str, Tensor], shape: AnyShape) -> dict[str, Any]:
    """What config.json says of heads, and only their tensors tell."""
    found = getattr(TYPES[shape.name], "decided", None)
    return {"heads": found(state)} if found else {}


def write_ends(folder: Path, shape: AnyShape, facts: Mapping[str, Any]) -> None:
    """generation_config.json of a shape that writes on: where a text begins and ends, and what fills up a batch; and
    the tokens that are never written."""
    end = facts.get("eos_token_id")
    if shape.causal and end is not None:
        found = {"bos_token_id": facts.get("bos_token_id", end), "eos_token_id": end, "pad_token_id": end}
        never = {"suppress_tokens": facts["suppress_tokens"]} if facts.get("suppress_tokens") else {}
        write_json(folder / "generation_config.json", found | never)


def write_rest(path: Path, rest: Mapping[str, Tensor]) -> None:
    """firth.safetensors, where there is something for it; one of an earlier save is removed."""
    path.unlink(missing_ok=True)
    if rest:
        write_file(path, rest)


def common(shape: AnyShape) -> dict[str, Any]:
    """What transformers wants of every transformer."""
    if not isinstance(shape, Shape):
        return {}
    own = {theirs: getattr(shape, ours) for theirs, ours in TYPES[shape.name].NAMES.items()}
    own |= {"intermediate_size": shape.intermediate, "initializer_range": spread_at(shape)}
    return own | ({"pad_token_id": shape.pad_id, "tie_word_embeddings": True} if shape.vocabulary else {})


def numbered(state: Mapping[str, Tensor], task: str) -> tuple[str, ...]:
    """LABEL_0, LABEL_1, … as transformers names the rows of a classifier whose classes nobody named."""
    return tuple(f"LABEL_{row}" for row in range(len(state[f"parts.{task}.classifier.weight"])))


def labels(classes: tuple[str, ...]) -> dict[str, Any]:
    if not classes:
        return {}
    return {
        "id2label": {str(number): name for number, name in enumerate(classes)},
        "label2id": {name: number for number, name in enumerate(classes)},
    }


def open_folder(folder) -> Opened:
    """Read a model folder, firth's own or another's; a run folder stands for the model in it.

    Raises InputError: no folder or config.json, a model_type or setting that is not supported, pickled, missing or
    damaged weights, tensors of another size than config.json says.
    """
    folder = model_folder(folder)
    config = read_json(folder / "config.json")
    shape = shape_from(config, folder / "config.json")
    with describing(folder / "config.json"):
        told = dict(config.get("firth") or {})
        task = task_in(config, told)
        named = task in ("classify", "pairs", "tag")
        classes = class_names(config) if named else tuple(told.get("classes") or ())
        facts = (head_facts(config) if named else {}) | told
        implied = {"next-token"} if shape.tied and ends_with(config, CAUSAL) else set()
    state, unused = to_ours(read_weights(folder), shape, task, folder, config.get("tie_word_embeddings", True))
    state |= read_file(folder / OWN) if (folder / OWN).is_file() else {}
    fill_up(state, shape)
    check_sizes(state, shape, folder)
    return Opened(shape, state, sorted(unused), classes, facts, frozenset(implied))


def ends_with(config: Mapping[str, Any], ends: tuple[str, ...]) -> bool:
    """Whether a class that the folder names ends like that."""
    return any(str(name).endswith(ends) for name in config.get("architectures") or ())


def task_in(config: Mapping[str, Any], told: Mapping[str, Any]) -> str | None:
    """The task whose head lies among the weights, as the class of transformers says; firth's own name where known."""
    names = [str(name) for name in config.get("architectures") or ()]
    found = next((task for end, task in CLASSES.items() for name in names if name.endswith(end)), None)
    form = TYPES[config["model_type"]]
    own = told.get("task") if found and told.get("task") in form.TASKS else found
    return own if own in form.TASKS else None


def open_shape(folder) -> AnyShape:
    """The shape of a model folder or run folder, without reading weights. Raises InputError as open_folder does."""
    place = model_folder(folder) / "config.json"
    return shape_from(read_json(place), place)


def signal_of(shape: str) -> str:
    """The name of the signal that a shape reads."""
    return getattr(TYPES[shape], "SIGNAL", "text")


def open_signal_name(folder) -> str:
    """The signal of a model folder or run folder, without reading weights. Raises InputError as open_folder does."""
    config = read_json(model_folder(folder) / "config.json")
    shape = shape_from(config, model_folder(folder) / "config.json")
    with describing(model_folder(folder) / "config.json"):
        return dict(config.get("firth") or {}).get("signal") or signal_of(shape.name)


def opens_elsewhere(folder) -> bool:
    """Whether transformers has a class for the shape."""
    kind = read_json(model_folder(folder) / "config.json").get("model_type")
    return kind != resnet.OURS and TYPES.get(str(kind)) is not frames


def model_folder(folder) -> Path:
    """The folder with config.json: this one, or `model` in it. Raises InputError."""
    folder = Path(folder)
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    what = "holds no config.json" if folder.is_dir() else "is no folder" if folder.exists() else "no such folder"
    raise InputError(folder, what, "Give a run folder, or a folder with config.json and model.safetensors.")


def mark_of_weights(folder) -> str:
    """A hash of the weights of a model folder, in all its files; 16 hexadecimal digits."""
    digest = blake2b(digest_size=8)
    for path in sorted(Path(folder).glob("*.safetensors")):
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return f"{int.from_bytes(digest.digest(), 'little'):016x}"


def mark_of_network(folder) -> str:
    """A hash of what a model or run folder says of its network: the shape, and how inputs are read. Raises InputError
    as open_folder does."""
    digest = blake2b(open_shape(folder).model_dump_json().encode(), digest_size=8)
    for path in sorted(model_folder(folder).iterdir()):
        if path.suffix in READING and path.name != "config.json":
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def head_facts(config: Mapping[str, Any]) -> dict[str, str]:
    """Which vector a classifier looks at, where its shape leaves a choice; and whether several labels may hold."""
    several = {"separator": "list"} if config.get("problem_type") == SEVERAL else {}
    if TRANSFORMERS.get(config["model_type"], {}).get("causal"):
        return several
    way = getattr(TYPES[config["model_type"]], "POOLING", config.get("classifier_pooling"))
    return {"pooling": "mean" if way == "mean" else "first", **several}


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    named = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(named[key]) for key in sorted(named, key=int))


def shape_from(config: Mapping[str, Any], where: Path) -> AnyShape:
    """The shape that a config.json describes. Raises InputError."""
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in TYPES:
        *most, last = TYPES
        raise InputError(
            where, f"model_type `{kind}` is not supported", f"firth opens {', '.join(most)} and {last} models."
        )
    form = TYPES[kind]
    missing = [key for key in form.NAMES if key not in config]
    if missing:
        raise InputError(where, f"has no `{missing[0]}`", "Copy it again from where the model came from.")
    with describing(where):
        if unsupported := form.unsupported(config):
            raise InputError(where, f"{', '.join(unsupported)} is not supported", "Use a model without it.")
        if hasattr(form, "shape_of"):
            return form.shape_of(config)
        given = {ours: config[theirs] for theirs, ours in form.NAMES.items()}
        return Shape(**{"name": kind, **given, **form.fields_of(config)})


@contextmanager
def describing(where: Path) -> Iterator[None]:
    """What reads a config.json goes in here. Raises InputError for settings that no model has, of whatever kind."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"describes no model: {wrong_with(error)}"
        raise InputError(where, what, "Copy it again from where the model came from.") from None


def wrong_with(error: Exception) -> str:
    """What an error says of a config.json, in words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        return f"{place}: {first['msg']}" if place else first["msg"]
    return f"no {error}" if isinstance(error, KeyError) else f"a setting is of another kind ({error})"


def to_theirs(
    state: Mapping[str, Tensor], shape: AnyShape, task: str | None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Tensors under the names of transformers, and under our own those that have none there."""
    if not has_names(shape):
        return dict(state), {}
    places: dict[str, list[tuple[str, Place]]] = {}
    for their_module, place in TYPES[shape.name].modules(shape, task).items():
        places.setdefault(place.module, []).append((their_module, place))
    theirs: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        if name not in places and module not in places:
            rest[name] = tensor
        for their_tensor, place in places.get(name, ()):
            theirs[their_tensor] = place.take(tensor)
        for their_module, place in places.get(module, ()):
            theirs[f"{their_module}.{leaf}"] = place.take(tensor)
    return theirs, rest


def has_names(shape: AnyShape) -> bool:
    """Whether transformers has a class for it, and with it names of tensors."""
    return not getattr(TYPES[shape.name], "PLAIN", False)


def to_ours(
    tensors: Mapping[str, Tensor], shape: AnyShape, task: str | None, folder: Path, tied: bool = True
) -> tuple[dict[str, Tensor], list[str]]:
    """Tensors under our names, and the names nobody here has a place for."""
    form = TYPES[shape.name]
    if not has_names(shape):
        return dict(tensors), []
    places, unused = form.modules(shape, task), []
    pieces: dict[str, dict[int, Tensor]] = {}
    for name, tensor in tensors.items():
        full = form.theirs_of(name)
        module, _, leaf = full.rpartition(".")
        if form.constant(full) or (full in form.TIED and shape.tied):
            unused += [] if tied or form.constant(full) else [name]
        elif full in places:
            pieces[places[full].module] = {0: tensor}
        elif module in places:
            place = places[module]
            pieces.setdefault(f"{place.module}.{leaf}", {})[place.part] = place.turn(tensor)
        else:
            unused.append(name)
    counts = {place.module: len(place.rows) for place in places.values()}
    state = {name: join(name, parts, counts.get(name.rpartition(".")[0], 1), folder) for name, parts in pieces.items()}
    return state, unused


def fill_up(state: dict[str, Tensor], shape: AnyShape) -> None:
    """Tensors that a folder may lack, and that then begin anew, in place."""
    missing = getattr(TYPES[shape.name], "missing", None)
    for name, tensor in missing(shape).items() if missing else ():
        state.setdefault(name, tensor)


def join(name: str, parts: dict[int, Tensor], count: int, folder: Path) -> Tensor:
    """Row blocks as one tensor. Raises InputError where one is missing, or its rows are of another length."""
    do = "Copy the weights again from where the model came from."
    if len(parts) < count:
        raise InputError(folder, f"lacks a part of `{name}`", do)
    kinds = {(part.dim(), part.shape[1:]) for part in parts.values()}
    if len(parts) > 1 and (len(kinds) > 1 or (0, ()) in kinds):
        raise InputError(folder, f"has parts of `{name}` that do not fit together", do)
    return joined(parts)


def check_sizes(state: Mapping[str, Tensor], shape: AnyShape, folder: Path) -> None:
    """Raises InputError where a tensor of the encoder is missing, quantised, or of another size than the shape's."""
    with torch.device("meta"):
        wanted = backbone_of(shape).state_dict(prefix="backbone.")
    do = "Take config.json and the weights from the same model."
    for name, tensor in wanted.items():
        if name not in state:
            raise InputError(folder, f"has no weights for `{name}`", do)
        if state[name].shape != tensor.shape:
            sizes = (" x ".join(map(str, one.shape)) for one in (state[name], tensor))
            found, expected = sizes
            raise InputError(folder, f"`{name}` is {found} in the weights and {expected} by config.json", do)
        if state[name].dtype not in REAL:
            what = f"`{name}` is quantised ({str(state[name].dtype).removeprefix('torch.')})"
            raise InputError(folder, what, "Take the model in half or full precision.")
