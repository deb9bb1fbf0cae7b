"""What an adaptation tells and leaves behind: the plan, the score, the model folder, the card."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firth.signal import Facts, Signal
from firth.train.budget import Clock
from firth.train.describe import count, duration, percent
from firth.train.folder import RunFolder, write_atomically
from firth.train.log import Recorded, Show

NAMES = {"macro_f1": "macro F1", "micro_f1": "micro F1", "matthews": "Matthews", "f1": "F1", "span_f1": "span F1",
         "calibration_error_before": "before calibration", "wer": "WER", "cer": "CER", "per": "PER", "eer": "EER",
         }  # of figures, for people  # fmt: skip
SHARES = ("accuracy", "decision_accuracy", "f1", "exact_match", "span_f1", "word_accuracy", "phone_accuracy", "wer",
          "cer", "per", "eer", "balanced_accuracy")  # figures shown as per cent  # fmt: skip
BARS = "▁▂▃▄▅▆▇█"
WRONG = 50  # wrongly predicted samples that are kept for looking at


@dataclass(frozen=True)
class Adapted:
    """What an adaptation ended with. Losses in nats per sample; seconds are wall time of the command."""

    folder: Path
    task: str = "classify"
    start: str = "pretrained"
    scored: str = "test"  # or "validation", where there is no test part
    score: dict[str, Any] = field(default_factory=dict)  # what the task's `score` says
    validation: dict[str, float] = field(default_factory=dict)  # means of the kept weights
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (step, validation means), step 0 first
    labels: dict[str, int] = field(default_factory=dict)  # samples by part
    steps: int = 0  # done; early stopping may have come before the plan's end
    best_step: int = 0
    settled: dict[str, Any] = field(default_factory=dict)  # what validation chose: temperature, threshold
    layers: list[float] = field(default_factory=list)  # share of each layer, the embedding first, where all are read
    seconds: float = 0.0
    plan: dict[str, Any] = field(default_factory=dict)
    status: str = "finished"  # or "planned" (dry run)

    @property
    def accuracy(self) -> float | None:
        return self.score.get("accuracy")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"folder": str(self.folder), "accuracy": self.accuracy}


def counts(work) -> dict[str, int]:
    """Examples by part, whatever number of samples they make."""
    records, named = work.labelled.records, {"train": "train", "valid": "validation", "test": "test"}
    return {name: len(records[part]) for part, name in named.items() if records[part]}


def planned(work) -> dict[str, Any]:
    settings = work.recipe.train
    return {"steps": settings.steps, "batch": settings.batch, "lr": work.recipe.optimizer.lr,
            "evaluate_every": settings.evaluate_every, "patience": settings.patience}  # fmt: skip


def describe(work, show: Recorded) -> None:
    """Data, model, what was loaded and what is new, the plan."""
    from firth.train import build

    recipe, classes = work.recipe, work.labelled.classes
    held = held_note(work, show) if recipe.model.frozen or recipe.model.lora else ""
    named = ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
    parts = [f"{number:,} {name}" for name, number in counts(work).items()]
    parts += [f"{len(classes)} classes ({named})"] if classes else []
    show.line("Data", " · ".join([*parts, *work.labelled.task.notes]))
    for one in work.labelled.findings:
        if one.level == "warning":
            show.note(one.text)
    show.line("Model", build.describe_model(work.objective.backbone.shape, work.objective))
    if recipe.model.start == "pretrained":
        show.line("Weights", work.weights.describe(recipe.model.source) + held)
    else:
        told = f" ({build.describe_start(work.begun)})" if work.begun else ""
        show.line("Weights", f"{recipe.model.start} start{told}; weights of {recipe.model.source} unused{held}")
    plan = planned(work)
    ends = f", ends after {plan['patience']} without gain" if plan["patience"] else ""
    show.line("Plan", f"{plan['steps']:,} steps × {plan['batch']} samples · learning rate {plan['lr']:g} · "
                      f"validated every {plan['evaluate_every']:,} steps{ends}")  # fmt: skip


def held_note(work, show: Show) -> str:
    """What a frozen or held encoder means, for the line on the weights; a note where it was never trained."""
    from firth.train import build

    model = work.recipe.model
    how = "frozen" if model.frozen else "held"
    if model.start != "pretrained":
        show.note(f"The encoder is {how} as `{model.start}` begins it: "
                  "a head learns over vectors that nothing was learnt for.")  # fmt: skip
    what = "encoder frozen" if model.frozen else f"adapters of rank {model.lora}"
    return f" · {what}: {count(build.learning(work.objective))} parameters learn"


def finish(work, folder: RunFolder, job, clock: Clock, show: Recorded) -> Adapted:
    """Score, save the model folder, the result and the card; then say so."""
    scored, outcome = work.score()
    save_model(work, folder.model, job)
    write_wrong(folder, outcome.wrong)
    clock.lap("scoring and saving")
    best = dict(work.curve).get(work.kept, {})
    done = max([job.resumed, *(step for step, _ in work.curve)])
    result = Adapted(folder.path, work.task, work.recipe.model.start, scored, outcome.figures, best, work.curve,
                     counts(work), done, work.kept, work.settled, shares(work), clock.spent, planned(work))  # fmt: skip
    kept = result.as_dict() | {"folder": folder.path.name}
    folder.update(status="finished", error=None, result=kept, seconds=clock.parts)
    write_atomically(folder.card, card(work, folder, result))
    show_result(folder, result, show, work.signal.unit.given)
    return result


def shares(work) -> list[float]:
    """What the task has learnt to read of each layer, where it reads all of them."""
    sums = [part.layer_sum for part in work.objective.objectives if part.layer_sum is not None]
    return [float(share) for one in sums for share in one.shares.detach().cpu()]


def save_model(work, place: Path, job) -> None:
    """Under another name first, so that model/ is always whole."""
    from firth.interop.folder import save_folder

    partial = place.with_name(".model-partial")
    shutil.rmtree(partial, ignore_errors=True)
    own = [getattr(part, "facts", {}) for part in work.objective.parts.values()]
    facts = {"task": work.task, "signal": work.recipe.signal, "classes": list(work.labelled.classes)}
    facts |= ends(work.signal.facts) | {k: v for part in own for k, v in part.items()}
    state = apart(work, place.with_name("adapter"), job.state_dict())
    save_folder(partial, work.objective.backbone.shape, state, tuple(work.labelled.classes), facts)
    work.signal.save(partial)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(partial, place)


def ends(facts: Facts) -> dict[str, int]:
    """Of texts from a stream: the token that begins and ends one, and what fills up a batch."""
    if facts.end_id < 0:
        return {}
    return {"bos_token_id": facts.end_id, "eos_token_id": facts.end_id, "pad_token_id": facts.pad_id}


def described_hold(model) -> str:
    """For the card."""
    if model.frozen:
        return ", encoder frozen"
    return f", low-rank adapters of rank {model.lora}" if model.lora else ""


def described_layers(shares: list[float]) -> str:
    """For the card."""
    return f"Layers read: {describe_layers(shares)}.\n" if shares else ""


def apart(work, place: Path, state: dict[str, Any]) -> dict[str, Any]:
    """The weights with the adapters merged in; the adapters alone lie in `place` where their base is a model folder."""
    from firth.interop import peft
    from firth.interop.folder import model_folder
    from firth.model import low_rank

    model, shape = work.recipe.model, work.objective.backbone.shape
    if model.lora and model.start == "pretrained":
        peft.save_adapter(place, shape, state, work.task, str(model_folder(model.source)))
    return low_rank.merged(state) if model.lora else state


def write_wrong(folder: RunFolder, wrong: list[dict[str, Any]]) -> None:
    """samples/wrong.jsonl: what the model gets wrong in the part it was scored on, the surest first, with the text."""
    folder.samples.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in wrong[:WRONG])
    write_atomically(folder.samples / "wrong.jsonl", lines)


def show_result(folder: RunFolder, result: Adapted, show: Show, given: str = Signal.unit.given) -> None:
    if result.settled:
        show.line("Settled", describe_settled(result))
    if result.layers:
        show.line("Layers", describe_layers(result.layers))
    show.line("Result", describe_result(result))
    for line in confusion(result.score):
        show.line("", line)
    from firth.interop.folder import opens_elsewhere  # torch comes with it

    opens = "opens with transformers" if opens_elsewhere(folder.model) else "opens with firth"
    show.line("Saved", f"{folder.model} ({opens}) · {folder.card}")
    show.line("Next", f"firth predict {folder} {given}")
    show.result(result)


def show_finished(folder: RunFolder, show: Show) -> Adapted:
    """The result of an adaptation that is done, read from its run.json."""
    kept = folder.facts.get("result") or {}
    known = {key: value for key, value in kept.items() if key in Adapted.__dataclass_fields__}
    known["curve"] = [(step, means) for step, means in kept.get("curve", [])]
    result = Adapted(**known | {"folder": folder.path})
    show.note(f"{folder} is finished; nothing to do. To train anew, choose another --out.")
    show.line("Result", describe_result(result))
    show.result(result)
    return result


def describe_result(result: Adapted) -> str:
    """test accuracy 65.6 % · macro F1 0.655 · Matthews 0.31 (1,500 items) · best of 200 steps: 140 · 4.2 s"""
    values = [f"{NAMES.get(key, key.replace('_', ' '))} {figure(key, value)}" for key, value in result.score.items()
              if isinstance(value, float)]  # fmt: skip
    items = f" ({result.score['items']:,} items)" if "items" in result.score else ""
    taken = f"step {result.best_step:,} of {result.steps:,} kept"
    return " · ".join([f"{result.scored} " + " · ".join(values) + items, taken, duration(result.seconds)])


def describe_layers(shares: list[float]) -> str:
    """0 ▂ 10 % · 1 ▇ 70 % · 2 ▃ 20 % (0: the embedding)"""
    most = max(shares)
    bars = (
        f"{layer} {BARS[int((len(BARS) - 1) * share / most)]} {100 * share:.0f} %" for layer, share in enumerate(shares)
    )
    return " · ".join(bars) + " (0: the embedding)"


def describe_settled(result: Adapted) -> str:
    """temperature 1.38 · threshold 0.31 · by 400 validation examples"""
    parts = [f"{name} {value:.2f}" for name, value in result.settled.items()]
    return " · ".join([*parts, f"by {result.labels.get('validation', 0):,} validation examples"])


def figure(key: str, value: float) -> str:
    return percent(value) if key in SHARES else f"{value:.3f}"


def confusion(score: dict[str, Any]) -> list[str]:
    """The confusion matrix as lines, rows: the truth; nothing where there is none or it is too wide."""
    matrix, classes = score.get("confusion"), score.get("classes") or []
    if not matrix or len(classes) > 10:
        return []
    cells = [[name, *map("{:,}".format, row)] for name, row in zip(classes, matrix, strict=True)]
    rows = [["truth \\ said", *classes], *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


CARD = """\
---
tags: [firth, {task}]
library_name: {library}
---

# {title}

{model}, adapted by firth to `{task}` from `{source}` ({start}{held}) with {labels} labels ({parts}).
{classes}
| {scored} | |
|---|---|
{rows}

{layers}{confusion}

## Use

    firth predict {path} {given}

{folder}

## Repeat

    firth adapt {source} DATA --config {path}/config.toml --out {path}-again

`config.toml` is the complete recipe, `run.json` has versions, machine and result, `metrics.jsonl` every logged step,
`samples/wrong.jsonl` what it gets wrong. Seed {seed}; one seed is no comparison.
"""


def loader(folder: RunFolder) -> str:
    """The class of transformers that opens the model folder: AutoModelForTokenClassification and kin."""
    names = json.loads((folder.model / "config.json").read_text("utf-8")).get("architectures") or [""]
    _, found, task = str(names[0]).partition("For")
    return f"AutoModelFor{task}" if found else "AutoModel"


def card(work, folder: RunFolder, result: Adapted) -> str:
    """README.md: the model card."""
    from firth.interop.folder import opens_elsewhere
    from firth.train import build
    from firth.train.card import ALONE, ELSEWHERE

    elsewhere = opens_elsewhere(folder.model)
    rows = [f"| {key.replace('_', ' ')} | {figure(key, value)} |" for key, value in result.score.items()
            if isinstance(value, float)]  # fmt: skip
    matrix = "\n".join(f"    {line}" for line in confusion(result.score))
    named = {"path": folder.path.name, "title": folder.path.name, "task": result.task, "start": result.start}
    return CARD.format(
        **named,
        model=build.describe_model(work.objective.backbone.shape, work.objective),
        source=work.recipe.model.source,
        held=described_hold(work.recipe.model),
        labels=count(sum(n for part, n in result.labels.items() if part != "test")),
        parts=", ".join(f"{number:,} {part}" for part, number in result.labels.items()),
        classes=f"Classes: {', '.join(work.labelled.classes)}.\n" if work.labelled.classes else "",
        given=work.signal.unit.given,
        folder=(ELSEWHERE if elsewhere else ALONE).format(opens=loader(folder), path=folder.path.name),
        library="transformers" if elsewhere else "firth",
        scored=result.scored,
        rows="\n".join(rows),
        layers=described_layers(result.layers),
        confusion=matrix,
        seed=work.recipe.seed,
    )
