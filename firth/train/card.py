"""README.md of a run: the model card, with the figures."""

import math
from typing import Any

from firth import find
from firth.objective import unit_of_loss
from firth.recipe import Recipe, config_of
from firth.signal import Signal, Unit
from firth.train.describe import count, duration, name, percent, size
from firth.train.folder import RunFolder, write_atomically

BITS = "bits_per_byte"

CARD = """\
---
tags: [firth, {objectives}]
library_name: {library}
---

# {title}

{warning}{model}. Pre-trained by firth with {objectives} on raw data: {data}.

| held-out | |
|---|---|
{rows}

| cost | |
|---|---|
| steps | {steps:,} |
| {unit} | {tokens} |
| wall time | {seconds} |
| peak memory | {memory} |

Losses are {measured}, on {things}s that were never trained on; the first-step loss is that of the model after its
start and before its first update.

## Use

{uses}

{folder}

## Repeat

    firth pretrain --config {path}/config.toml --out {path}-again

`config.toml` is the complete recipe, `run.json` has versions, machine and the fingerprint of the data, `metrics.jsonl`
every logged step, `samples/` what the model guessed on the way. Seed {seed}.

## Limits

The model knows what its {things}s know, with their gaps and prejudices. A held-out {things} never trains, but near
duplicates of it may.
"""
ELSEWHERE = '`model/` is a Hugging Face folder: `transformers.{opens}.from_pretrained("{path}/model")`.'
ALONE = "`model/` holds weights as safetensors and the shape as config.json; transformers has no class for this shape."


def write(folder: RunFolder, recipe: Recipe, result, data: str, model: str,
          unit: Unit = Signal.unit, elsewhere: bool = True) -> None:  # fmt: skip
    """README.md into the run folder. result: a Result of train/pretrain.py. elsewhere: transformers opens the model."""
    opens = next((one.opens for one in configs(recipe) if one.opens != "AutoModel"), "AutoModel")
    rows = [(key, value) for key, value in result.metrics.items() if key != "loss" or len(recipe.objective) > 1]
    rows += list(result.vectors.items())
    rows += [("loss before the first step", result.first_loss), ("loss at random initialisation", result.random_loss)]
    text = CARD.format(
        objectives=", ".join(recipe.objective),
        title=folder.path.name,
        warning=f"**This run collapsed; its vectors tell samples apart hardly or not at all.** {result.collapse}\n\n"
        if result.collapse
        else "",
        model=model,
        data=data,
        rows="\n".join(f"| {name(key)} | {figure(key, value)} |" for key, value in rows if value is not None),
        steps=result.steps,
        tokens=count(result.tokens),
        seconds=duration(result.seconds),
        memory=size(result.peak_memory),
        path=folder.path.name,
        uses="\n".join(f"    {use.format(folder.path.name)}" for use in uses(recipe)),
        folder=(ELSEWHERE if elsewhere else ALONE).format(opens=opens, path=folder.path.name),
        library="transformers" if elsewhere else "firth",
        unit=unit.steps,
        things=unit.thing,
        measured=measured(recipe),
        seed=recipe.seed,
    )
    write_atomically(folder.card, text)


def configs(recipe: Recipe) -> list[Any]:
    return [config_of(recipe, "objectives", name) for name in recipe.objective]


def measured(recipe: Recipe) -> str:
    """What losses are: in nats per item; where objectives differ, or have no unit, means over items."""
    one = unit_of_loss(configs(recipe))
    return "in nats per item" if one == "nats" else f"the {one} per item" if one else "means over items"


def uses(recipe: Recipe) -> list[str]:
    """What a run of these objectives is good for, as commands with {} for its folder; the next one first."""
    labelled = find.main_class(find.find("signals", recipe.signal), Signal).unit.labelled
    found = dict.fromkeys(use for config in configs(recipe) for use in config.uses)
    return [use.replace(Signal.unit.labelled, labelled) for use in found]


def figure(key: str, value: float) -> str:
    """A share for accuracies, a short number else."""
    if key.endswith("accuracy"):
        return percent(value)
    return f"{value:,.1f}" if key.endswith("perplexity") else f"{value:.3f}"


def perplexity(loss: float) -> float:
    """exp of a loss in nats, never an overflow."""
    return math.exp(min(loss, 50.0))


def describe_metrics(metrics: dict[str, float]) -> str:
    """masked tokens loss 4.12 (perplexity 61.6) · 24.1 % right at first guess"""
    parts = [
        _one(term, metrics) for term in metrics if term not in ("loss", BITS) and not _is_of_another(term, metrics)
    ]
    parts += [f"{metrics[BITS]:.3f} {name(BITS)}"] if BITS in metrics else []
    return " · ".join(parts) or f"loss {metrics.get('loss', math.nan):.2f}"


def _one(term: str, metrics: dict[str, float]) -> str:
    text = f"{name(term)} loss {metrics[term]:.2f}"
    if (ambiguity := metrics.get(f"{term}_perplexity")) is not None:
        text += f" (perplexity {ambiguity:,.0f})"
    if (right := metrics.get(f"{term}_accuracy")) is not None:
        text += f" · {percent(right)} right"
    beside = [key for key in metrics if key.startswith(f"{term}_") and not key.endswith(("_accuracy", "_perplexity"))]
    return text + "".join(f" · {name(key)} {metrics[key]:.2f}" for key in beside)


def _is_of_another(key: str, metrics: dict[str, float]) -> bool:
    """Whether it is said beside a loss term: masked_tokens_accuracy beside masked_tokens."""
    return any(key.startswith(f"{term}_") for term in metrics)
