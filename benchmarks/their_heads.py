"""The heads of transformers in a plain loop: the other side of heads.py. Nothing of firth computes here.

AutoModelFor…, AutoTokenizer, torch's AdamW (no decay on biases and norms), gradients clipped at norm 1, a rate that
rises over the first tenth of the steps and then falls linearly to 0. Labels are aligned as the examples of transformers
do it: the first piece of each word; windows of a document by `stride`, an answer outside a window at [CLS].

Of a span the class takes its softmax over all tokens, those of the question too, and its examples take the best score
of any window. With `document` its logits are used as firth uses its own: the softmax is over the document and [CLS],
and what windows offer is compared over their [CLS].
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

# N examples, S samples (windows), T tokens

NONE = -100  # what transformers leaves out of a loss
BEST, LONGEST = 20, 30  # starts and ends that are looked at in a window; tokens of an answer
TOGETHER = 32  # samples that are answered at once
CLASSES = {
    "classify": "AutoModelForSequenceClassification",
    "pairs": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
}


class Plan(NamedTuple):
    """What both sides have in common. order: the samples of each step; samples: how many firth has."""

    task: str
    classes: Sequence[str]
    context: int
    stride: int
    order: list[np.ndarray]
    samples: int
    lr: float
    decay: float
    warmup: float
    seed: int
    device: str
    head: torch.Tensor  # the last map as firth drew it; its bias begins at 0 on both sides
    document: bool = False  # span: a softmax over the document alone


class Samples(NamedTuple):
    """What the tokenizer made of N examples: S rows of inputs (targets included), and what answers are made of."""

    rows: list[dict[str, list[int]]]
    owner: list[int]  # (S,) the example of each
    words: list[list[int | None]]  # (S, T) tag: the word of each token
    offsets: list[list[tuple[int, int] | None]]  # (S, T) span: characters of each token of the document


def learn(plan: Plan, folder, given: Sequence[Any], test: Sequence[Any]) -> list[Any]:
    """One plain value for each test example: a label, tags, an answer."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(plan.seed)
    named = {} if plan.task == "span" else {"num_labels": len(plan.classes)}
    model = getattr(transformers, CLASSES[plan.task]).from_pretrained(folder, **named).to(plan.device)
    last = model.qa_outputs if plan.task == "span" else model.classifier
    with torch.no_grad():
        last.weight.copy_(plan.head)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    fit(plan, model, tokenizer, encoded(plan, tokenizer, given).rows)
    return answers(plan, model, tokenizer, test)


def fit(plan: Plan, model, tokenizer, rows: Sequence[dict[str, list[int]]]) -> None:
    from transformers import get_linear_schedule_with_warmup

    if len(rows) != plan.samples:
        raise SystemExit(
            f"their_heads.py: {len(rows):,} samples, {plan.samples:,} of firth. Look at the windows of both."
        )
    optimizer = torch.optim.AdamW(groups(model, plan.decay), lr=plan.lr)
    steps = len(plan.order)
    schedule = get_linear_schedule_with_warmup(optimizer, round(plan.warmup * steps), steps)
    model.train()
    for chosen in plan.order:
        batch = padded([rows[i] for i in chosen.tolist()], tokenizer.pad_token_id)
        loss_of(plan, model, {name: tensor.to(plan.device) for name, tensor in batch.items()}).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


def loss_of(plan: Plan, model, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The class's own; of a document alone the same mean over starts and ends, of its logits."""
    inside = batch.pop("inside", None)
    if not plan.document or inside is None:
        return model(**batch).loss
    gold = [batch.pop("start_positions"), batch.pop("end_positions")]
    said = model(**batch)
    logits = [one.masked_fill(inside == 0, -torch.inf) for one in (said.start_logits, said.end_logits)]
    return sum(torch.nn.functional.cross_entropy(*pair) for pair in zip(logits, gold, strict=True)) / 2


def groups(model, decay: float) -> list[dict[str, Any]]:
    """No weight decay on biases and norms."""
    plain = [p for name, p in model.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    own = {id(p) for p in plain}
    rest = [p for p in model.parameters() if id(p) not in own]
    return [{"params": rest, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}]


def padded(rows: Sequence[dict[str, list[int]]], pad: int) -> dict[str, torch.Tensor]:
    """Lists to the longest, numbers as they are."""
    fill = {"input_ids": pad, "labels": NONE}
    longest = max(len(row["input_ids"]) for row in rows)
    return {
        name: torch.tensor([
            row[name] if isinstance(row[name], int) else row[name] + [fill.get(name, 0)] * (longest - len(row[name]))
            for row in rows
        ])
        for name in rows[0]
    }  # fmt: skip


# ------------------------------------------------------------------ inputs and targets


def encoded(plan: Plan, tokenizer, examples: Sequence[Any]) -> Samples:
    return {"tag": tagged, "span": windowed}.get(plan.task, labelled)(plan, tokenizer, examples)


def labelled(plan: Plan, tokenizer, examples: Sequence[Any]) -> Samples:
    """classify, pairs: one row each."""
    numbers = {name: number for number, name in enumerate(plan.classes)}
    texts = list(zip(*[one.parts or (one.text,) for one in examples], strict=True))
    found = tokenizer(*map(list, texts), truncation=True, max_length=plan.context)
    rows = [
        {name: found[name][i] for name in found} | {"labels": numbers[str(one.label)]} for i, one in enumerate(examples)
    ]
    return Samples(rows, list(range(len(rows))), [], [])


def tagged(plan: Plan, tokenizer, examples: Sequence[Any]) -> Samples:
    """One row each; the label of a word stands at its first piece."""
    numbers = {name: number for number, name in enumerate(plan.classes)}
    words = [list(one.target[0]) for one in examples]
    found = tokenizer(words, is_split_into_words=True, truncation=True, max_length=plan.context)
    places = [firsts(found.word_ids(i)) for i in range(len(examples))]
    rows = [
        {name: found[name][i] for name in found}
        | {"labels": [NONE if word is None else numbers[one.target[1][word]] for word in places[i]]}
        for i, one in enumerate(examples)
    ]
    return Samples(rows, list(range(len(rows))), places, [])


def firsts(words: Sequence[int | None]) -> list[int | None]:
    """The word that begins at each token."""
    return [word if word is not None and (i == 0 or words[i - 1] != word) else None for i, word in enumerate(words)]


def windowed(plan: Plan, tokenizer, examples: Sequence[Any]) -> Samples:
    """Windows of each document; where the answer lies in them."""
    questions, documents = (list(texts) for texts in zip(*(one.parts for one in examples), strict=True))
    found = tokenizer(questions, documents, truncation="only_second", max_length=plan.context, stride=plan.stride,
                      return_overflowing_tokens=True, return_offsets_mapping=True)  # fmt: skip
    owner = found.pop("overflow_to_sample_mapping")
    mapping = found.pop("offset_mapping")
    offsets, rows = [], []
    for i, characters in enumerate(mapping):
        inside = [part == 1 for part in found.sequence_ids(i)]
        offsets.append([pair if here else None for pair, here in zip(characters, inside, strict=True)])
        start, end = ends(offsets[-1], examples[owner[i]].target)
        kept = [int(here or place == 0) for place, here in enumerate(inside)]
        rows.append({name: found[name][i] for name in found}
                    | {"start_positions": start, "end_positions": end, "inside": kept})  # fmt: skip
    return Samples(rows, owner, [], offsets)


def ends(offsets: Sequence[tuple[int, int] | None], target: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """First and last token of the first answer; [CLS] where it is not whole in the window."""
    inside = [i for i, pair in enumerate(offsets) if pair]
    if not target or not inside:
        return 0, 0
    begin, stop = target[0][1], target[0][1] + len(target[0][0])
    first, last = offsets[inside[0]], offsets[inside[-1]]
    if first is None or last is None or first[0] > begin or last[1] < stop:
        return 0, 0
    touched = [i for i in inside if offsets[i][1] > begin and offsets[i][0] < stop]  # type: ignore[index]
    return (touched[0], touched[-1]) if touched else (0, 0)


# ------------------------------------------------------------------ answers


@torch.inference_mode()
def answers(plan: Plan, model, tokenizer, test: Sequence[Any]) -> list[Any]:
    """What the model says of each example."""
    samples, found = encoded(plan, tokenizer, test), [None] * len(test)
    order = sorted(range(len(samples.rows)), key=lambda i: -len(samples.rows[i]["input_ids"]))
    model.eval()
    for begin in range(0, len(order), TOGETHER):
        places = order[begin : begin + TOGETHER]
        batch = padded([samples.rows[i] for i in places], tokenizer.pad_token_id)
        inputs = {name: batch[name].to(plan.device) for name in batch if name in tokenizer.model_input_names}
        said = model(**inputs)
        for row, place in enumerate(places):
            owner = samples.owner[place]
            found[owner] = SAY[plan.task](plan, said, row, samples, place, found[owner])
    return [FINISH.get(plan.task, kept)(plan, one, said) for one, said in zip(test, found, strict=True)]


def label(plan: Plan, said, row: int, samples: Samples, place: int, before) -> str:
    return plan.classes[int(said.logits[row].argmax())]


def tags(plan: Plan, said, row: int, samples: Samples, place: int, before) -> dict[int, str]:
    """Of each word that has a piece."""
    chosen = said.logits[row].argmax(-1).tolist()
    return {word: plan.classes[chosen[t]] for t, word in enumerate(samples.words[place]) if word is not None}


def answer(plan: Plan, said, row: int, samples: Samples, place: int, before) -> tuple[float, tuple[int, int]]:
    """(score, characters): the best stretch of this window, or of one before, by start + end."""
    offsets = samples.offsets[place]
    starts, ends = (logits[row].float().cpu().numpy() for logits in (said.start_logits, said.end_logits))
    best, none = before or (-np.inf, (0, 0)), float(starts[0] + ends[0]) if plan.document else 0.0
    for start in np.argsort(-starts)[:BEST].tolist():
        for end in np.argsort(-ends)[:BEST].tolist():
            inside = start <= end < min(start + LONGEST, len(offsets)) and offsets[start] and offsets[end]
            score = float(starts[start] + ends[end]) - none
            if inside and score > best[0]:
                best = (score, (offsets[start][0], offsets[end][1]))
    return best


def kept(plan: Plan, example, said):
    return said


def every_word(plan: Plan, example, said: dict[int, str]) -> list[str]:
    """A word that was cut off or has no piece gets the first class."""
    return [said.get(word, plan.classes[0]) for word in range(len(example.target[0]))]


def text(plan: Plan, example, said: tuple[float, tuple[int, int]]) -> str:
    return example.parts[1][slice(*said[1])]


FINISH: dict[str, Callable[..., Any]] = {"tag": every_word, "span": text}
SAY: dict[str, Callable[..., Any]] = {"classify": label, "pairs": label, "tag": tags, "span": answer}
