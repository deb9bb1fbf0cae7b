"""A recipe becomes the things it names: the signal, the corpus, the objectives over one backbone, the batches.

Every method is found by its file name; nothing here knows one of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from firth import find
from firth.data.arrays import ArrayCorpus
from firth.data.corpus import Corpus
from firth.data.sampler import Batches
from firth.data.source import Source
from firth.errors import InputError
from firth.functional.random import Draw
from firth.interop.folder import model_folder, open_folder, open_shape
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.layer_sum import LayerSum
from firth.model.shape import AnyShape
from firth.model.sizes import READS, TRANSFORMERS, shape_of
from firth.objective import Composed, Objective, ObjectiveConfig
from firth.recipe import Recipe, config_of, filled, with_table
from firth.signal import Rung, Signal
from firth.train.describe import count, duration
from firth.train.plan import rung

KIND = {"pretrain": "objectives", "adapt": "tasks"}
DEFAULT_SHAPE = "modernbert"
TITLES = {
    "bert": "BERT", "modernbert": "ModernBERT", "llama": "Llama", "gpt2": "GPT-2", "vit": "ViT", "resnet": "ResNet",
    "frames": "log-mel Transformer", "causal-frames": "causal log-mel Transformer", "wav2vec2": "wav2vec 2.0",
    "hubert": "HuBERT",
}  # fmt: skip
AnyCorpus = Corpus | ArrayCorpus


@dataclass
class Weights:
    """Where the weights came from; what the person is told."""

    loaded: list[str] = field(default_factory=list)  # names of tensors taken from the source
    new: list[str] = field(default_factory=list)  # names of tensors that begin at random
    unused: list[str] = field(default_factory=list)  # names of tensors in the source that nothing took
    anew: list[str] = field(default_factory=list)  # names of tensors that it has, too, but that begin as drawn

    def describe(self, source) -> str:
        text = f"{len(self.loaded):,} tensors loaded from {source}"
        for label, names in (("new", self.new), ("unused", self.unused)):
            text += f" · {label}: {_shorten(names)}" if names else f" · none {label}"
        return text + (f" · drawn anew: {_shorten(self.anew)}" if self.anew else "")


def signal_class(recipe: Recipe) -> type[Signal]:
    """The class of the recipe's signal."""
    return find.main_class(find.find("signals", recipe.signal), Signal)


def store_of(signal: type[Signal]) -> Any:
    """The module of data/ that reads and keeps the files of a signal."""
    return import_module(f"firth.data.{signal.store}")


def open_data(recipe: Recipe, show=None, before: Callable[[int], None] | None = None) -> AnyCorpus:
    """Read, split, and tokenise or decode the data of the recipe; with model.source, as the source does.

    before: told the bytes that are about to be packed, where the cache does not have them; may refuse.
    """
    module = find.find("signals", recipe.signal)
    config = config_of(recipe, "signals", recipe.signal)
    signal = open_signal(recipe, recipe.model.source) if recipe.model.source else None
    store = store_of(signal_class(recipe))
    return store.open_corpus(recipe.data, module, config, recipe.seed, signal=signal, show=show, before=before)


def open_signal(recipe: Recipe, folder) -> Signal:
    """The fitted signal of a model folder, with the recipe's own keys."""
    return signal_class(recipe).open(model_folder(folder), config_of(recipe, "signals", recipe.signal))


def configs_of(recipe: Recipe) -> dict[str, ObjectiveConfig]:
    """Config by name of objective, in the order they arrange and prepare."""
    return {name: config_of(recipe, KIND[recipe.verb], name) for name in recipe.objective}


def fill(recipe: Recipe, signal: Signal) -> Recipe:
    """The recipe with everything that follows from the fitted signal: the tables of the methods, and the shape."""
    recipe = with_table(recipe, recipe.signal, signal.config)
    for name, config in configs_of(recipe).items():
        refuse_missing(name, config, signal)
        recipe = with_table(recipe, name, config.fill(signal.facts))
    shape = shape_for(recipe, signal)
    for name, config in configs_of(recipe).items():
        recipe = with_table(recipe, name, config.fit(shape))
    return filled(recipe, model=shape.kept)


def refuse_missing(name: str, config: ObjectiveConfig, signal: Signal) -> None:
    """Raises InputError where the signal does not offer what the objective needs."""
    missing = sorted(config.needs - signal.facts.offers)
    if missing:
        raise InputError(
            f"objective `{name}`",
            f"needs {', '.join(missing)}, which the signal `{signal.name}` does not offer",
            f"Choose another --objective; {signal.name} offers {', '.join(sorted(signal.facts.offers))}.",
        )


def shape_for(recipe: Recipe, signal: Signal) -> AnyShape:
    """The shape of the source where there is one, else of the recipe. Raises InputError for one of another signal."""
    model = recipe.model
    if model.source:
        shape = open_shape(model.source)
        refuse_other_signal(shape.name, signal)
        return (
            shape
            if model.dropout is None or not shape.can_drop
            else shape.model_copy(update={"dropout": model.dropout})
        )
    size = f"{model.layers}x{model.width}" if model.layers and model.width else model.size
    given = {key: getattr(model, key) for key in ("heads", "intermediate", "key_heads", "tied", "patch")}
    own = {key: value for key, value in given.items() if value is not None}
    name = model.shape or fitting_shape(recipe)
    refuse_other_signal(name, signal)
    shape = shape_of(name, size, **signal.sizes, **own)
    dropout = 0.0 if model.dropout is None and recipe.verb == "pretrain" else model.dropout
    return shape if dropout is None or not shape.can_drop else shape.model_copy(update={"dropout": dropout})


def refuse_other_signal(name: str, signal: Signal) -> None:
    """Raises InputError for a shape that reads what the signal does not offer."""
    reads = READS.get(name)
    if reads is not None and reads not in signal.facts.offers:
        good = [one for one, read in READS.items() if read in signal.facts.offers]
        raise InputError(
            f"model.shape `{name}`",
            f"reads {reads}, and the signal is `{signal.name}`",
            f"Choose model.shape = {' or '.join(good)}.",
        )


def sized(recipe: Recipe, seconds: float | None) -> Recipe:
    """The recipe with the size that a signal has for a time budget (None: another one), where nobody said."""
    model, ladder = recipe.model, ladder_of(recipe)
    if not ladder or model.source or model.size or model.layers:
        return recipe
    found = ladder[min(1, len(ladder) - 1)] if seconds is None else rung(ladder, seconds)
    return filled(recipe, model={"size": found.size})


def ladder_of(recipe: Recipe) -> Sequence[Rung]:
    """The sizes that the signal has for a time budget, of the recipe's shape; () where it has none."""
    shape = recipe.model.shape or fitting_shape(recipe)
    return signal_class(recipe).ladder(shape, config_of(recipe, "signals", recipe.signal))


def fitting_shape(recipe: Recipe) -> str:
    """The shape that goes with the objectives, where nobody named one."""
    wanted = (config.shape for config in configs_of(recipe).values())
    return next((name for name in wanted if name), signal_class(recipe).shape or DEFAULT_SHAPE)


def refuse_sight(shape: AnyShape, parts: dict[str, Objective]) -> None:
    """Raises InputError for an objective that must see later steps in a shape that no tool lets see them, or the other
    way round."""
    for name, part in parts.items():
        if part.causal is not None and part.causal != shape.causal:
            sees = "a step sees only earlier ones" if shape.causal else "a step sees later ones too"
            alike = [one for one in TRANSFORMERS if READS[one] == READS[shape.name]]
            good = [one for one in alike if TRANSFORMERS[one].get("causal", False) == part.causal]
            raise InputError(
                f"model.shape `{shape.name}`",
                f"{sees}, wherever the folder is opened, and `{name}` cannot learn so",
                f"Choose model.shape = {' or '.join(good)}, or another --objective.",
            )


def compose(recipe: Recipe, signal: Signal, shape: AnyShape | None = None) -> Composed:
    """The objectives of a filled recipe over one freshly initialised backbone, in fp32 on the CPU."""
    shape = shape or shape_for(recipe, signal)
    backbone = backbone_of(shape, signal.embed(shape))
    parts: dict[str, Objective] = {}
    for name, config in configs_of(recipe).items():
        module = find.find(KIND[recipe.verb], name)
        parts[name] = find.main_class(module, Objective)(config, backbone)
        parts[name].layer_sum = LayerSum(shape.layers + 1) if recipe.model.layer_sum else None
    refuse_sight(shape, parts)
    objective = Composed(backbone, parts)
    initialise(objective, shape, recipe.seed)
    objective.begun()
    return objective


def apply_choices(recipe: Recipe, objective: Composed) -> None:
    """Set what the probe chose: the attention kernel, and compiled blocks."""
    backbone: Any = objective.backbone
    if recipe.train.attention != "auto" and hasattr(backbone, "set_attention"):
        backbone.set_attention(recipe.train.attention)
    if recipe.train.compile == "on":
        allow_recompiling()
        for block in backbone.encoder.blocks:
            block.compile()


def allow_recompiling() -> None:
    """First, inner and last blocks, training and evaluating, full and last batches: each has its own compiled form.
    Beyond its limit torch goes on uncompiled without an error, and forms of earlier copies of the model count, too."""
    import torch._dynamo as dynamo

    dynamo.reset()
    dynamo.config.recompile_limit = 64


@contextmanager
def uncompiled(recipe: Recipe) -> Iterator[None]:
    """Blocks run as they are written, compiled or not: for what comes in ever other sizes, such as texts that a model
    writes, of which each size would be compiled for as long as many steps take."""
    if recipe.train.compile != "on":
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def load_weights(objective: Composed, source, reinitialise: int = 0) -> Weights:
    """Copy what fits by name and shape from a model folder; say what was loaded, what is new, what nobody took.

    reinitialise: so many blocks at the top, and all that stands on them, stay as they were drawn (Zhang et al. 2021,
    arXiv 2006.05987, section 5).
    """
    opened = open_folder(source)
    own, taken = dict(objective.state_dict()), adopted(objective, opened.state)
    given = {name: opened.state[theirs] for name, theirs in taken.items()} | opened.state
    fits = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not any(name.startswith("backbone.encoder.") for name in fits):
        raise InputError(
            source, "holds no weights that fit this encoder", "Check the folder after --from, or drop --set model keys."
        )
    new = [name for name in own if name not in fits]
    used = {*fits, *(theirs for name, theirs in taken.items() if name in fits)}
    unused = [*opened.unused, *(name for name in opened.state if name not in used)]
    anew = [name for name in top(objective, reinitialise) if name in fits]
    loaded = {name: value for name, value in fits.items() if name not in anew}
    objective.load_state_dict(loaded, strict=False)
    objective.begun()
    return Weights(sorted(loaded), sorted(new), sorted(unused), anew)


def adopted(objective: Composed, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Tensor of the objective that the folder has not → its like under another name there."""
    pairs = {
        f"parts.{name}.{ours}": theirs
        for name, part in zip(objective.parts, objective.objectives, strict=True)
        for ours, theirs in part.adopts.items()
    }
    return {name: theirs for name, theirs in pairs.items() if name not in state and theirs in state}


def top(objective: Composed, blocks: int) -> list[str]:
    """Names of the tensors of so many blocks at the top and of all that stands on them; none for no blocks."""
    if not blocks:
        return []
    layers = range(objective.backbone.shape.layers - blocks)  # type: ignore[arg-type, operator, union-attr]
    below = ("backbone.embed.", *(f"backbone.encoder.blocks.{layer}." for layer in layers))
    return sorted(name for name in objective.state_dict() if not name.startswith(below))


def start_weights(recipe: Recipe, objective: Composed, source: Source) -> dict[str, Any] | None:
    """The closed-form start of the recipe (a file of starts/), applied in place; None for `random` or with a source."""
    if recipe.model.source or recipe.model.start == "random":
        return None
    module = find.find("starts", recipe.model.start)
    told = module.start(objective, source, Draw(recipe.seed))
    objective.begun()
    return told


def rows_of(recipe: Recipe) -> dict[str, Any]:
    """How objectives want the corpus cut: packed, or by documents where sentences matter; with partners if needed."""
    needs = frozenset().union(*(config.needs for config in configs_of(recipe).values()))
    rows = "stream" if "stream" in needs else "documents" if needs & {"sentences", "partner"} else "packed"
    return {"rows": rows, "partner": any(config.partnered for config in configs_of(recipe).values())}


def batches_of(recipe: Recipe, signal: Signal, source: Source, seed: int | None = None) -> Batches:
    """The batches of a source under the recipe, for this rank."""
    from firth import distributed

    configs, train = list(configs_of(recipe).values()), recipe.train
    return Batches(
        source,
        signal,
        configs,
        recipe.seed if seed is None else seed,
        batch=train.batch or 16,
        micro_batch=train.micro_batch,
        rank=distributed.rank(),
        world=distributed.world(),
        group_lengths=source.lengths is not None,
    )


def device_of(recipe: Recipe) -> torch.device:
    """`auto` is the accelerator where there is one. Raises InputError for one that is not there."""
    if recipe.device != "auto":
        with suppress(RuntimeError, AssertionError):
            device = torch.empty(0, device=recipe.device).device
            if device.type != "meta":  # which computes nothing
                return device
        raise InputError(f"--device {recipe.device}", "is not available here", "Use --device auto or cpu.")
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def parameters(objective: Composed) -> int:
    """Number of trained numbers; tied ones once."""
    return sum(p.numel() for p in objective.parameters())


def learning(objective: Composed) -> int:
    """Number of the numbers among them that have a gradient."""
    return sum(p.numel() for p in objective.parameters() if p.requires_grad)


def describe_data(corpus: AnyCorpus) -> str:
    """50,000 documents · 11.6 M words · 214 duplicates dropped"""
    facts = corpus.facts
    if "told" in facts:
        return " · ".join(facts["told"])
    parts = [
        f"{facts['documents']:,} documents ({facts['unit']}s)"
        if facts.get("unit")
        else f"{facts['documents']:,} documents"
    ]
    parts += [f"{count(facts[key])} {key}" for key in ("words", "tokens") if facts.get(key)]
    parts += [f"{name} {100 * share:.0f} %" for name, share in _languages(facts)]
    if facts.get("exact_duplicates"):
        parts.append(f"{facts['exact_duplicates']:,} duplicates dropped")
    if facts.get("near_duplicates"):
        parts.append(f"{facts['near_duplicates']:,} near duplicates")
    return " · ".join(parts)


def describe_model(shape: AnyShape, objective: Composed) -> str:
    """ModernBERT-shaped, 4 layers × 256, 5.3 M parameters, vocabulary 8,192"""
    size = f"{shape}, {count(parameters(objective))} parameters"
    return f"{TITLES[shape.name]}-shaped, {size}" + (f", vocabulary {shape.vocabulary:,}" if shape.vocabulary else "")


def describe_start(facts: dict[str, Any]) -> str:
    """co-occurrence: 6.1 M tokens counted in 4.2 s"""
    seconds = facts.get("seconds")
    shown = [f"{count(value)} {key}" for key, value in facts.items() if key != "seconds" and isinstance(value, int)]
    return " · ".join(shown) + (f" in {duration(seconds)}" if seconds is not None else "")


def _languages(facts: dict[str, Any]) -> list[tuple[str, float]]:
    """The two commonest languages and their shares of the documents."""
    languages = facts.get("languages") or {}
    total = sum(languages.values()) or 1
    return sorted(((name, n / total) for name, n in languages.items()), key=lambda pair: -pair[1])[:2]


def _shorten(names: list[str], most: int = 3) -> str:
    """Groups of tensors by the first three parts of their names."""
    groups = list(dict.fromkeys(".".join(name.split(".")[:3]) for name in names))
    return ", ".join(groups[:most]) + (f" and {len(groups) - most} more" if len(groups) > most else "")
