"""`firth score`: the field's exact metric of a task on a gold file and a file of predictions that any tool wrote.

classify, pairs: accuracy, macro-F1, Matthews (scikit-learn's); several labels: micro- and macro-F1, exact match;
numbers: Pearson and Spearman (scipy's). tag: accuracy over words, and span F1 (seqeval's default) where the tags are
BIO. span: exact match and F1 (SQuAD's evaluation scripts). prompt: exact match of what was written, and the share that
is a label at all. transcribe, verify: `scoring_sound.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firth.errors import InputError, count, did_you_mean
from firth.evaluate.prediction_files import (
    Given,
    Options,
    Row,
    align,
    by_id,
    cell,
    find_column,
    has_ids,
    listing,
    number_of,
    open_answers,
    open_rows,
    refuse_unknown,
)
from firth.evaluate.scoring_sound import score_transcripts, score_trials
from firth.functional import answers, metrics, spans
from firth.functional.cells import ONE, SEPARATORS, label_of, labels_in, ordered, separator_of
from firth.recipe import Recipe, apply_settings
from firth.tasks import _labels, _one_label, prompt
from firth.tasks.tag import TAGS, WORDS

LABELS = ("label", "labels", "class", "gold", "category", "sentiment", "target")
LATEST = ("prediction_label", "prediction_labels", "prediction_number")  # beside a `prediction` that was there before
PREDICTED = (*LATEST, "prediction", "predicted", "predictions", "label", "labels", "number")
ANSWER = ("prediction_answer", "prediction", "answer", "prediction_text", "text", "label")
UPOS = ("ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM", "PART", "PRON", "PROPN", "PUNCT", "SCONJ",
        "SYM", "VERB", "X")  # fmt: skip


def score(
    gold: str | Path,
    predictions: str | Path,
    task: str,
    label: str | None = None,
    predicted: str | None = None,
    classes: Iterable[str] = (),
    numbers: bool | None = None,
    settings: Iterable[str] | Mapping[str, Any] = (),
) -> dict[str, Any]:
    """The figures of a task: {"task", "gold", "predictions", "items", …}; shares in [0, 1].

    gold: a table or JSON lines with labels, CoNLL-U or columns, SQuAD JSON. predictions: the same forms; plain text
    with one answer a line; for span also {"ID": "ANSWER"}. Rows go together by `id` where both have it, else by place.
    settings: dotted keys; classify.separator says what stands between several labels, `none` that there is one.
    Raises InputError for files that cannot be read or do not fit together.
    """
    if task not in TASKS:
        hint = f"{did_you_mean(task, TASKS)}There is: {', '.join(TASKS)}."
        raise InputError(f"--task {task}", "has no score", hint)
    tables = tables_in(task, settings)
    options = Options(label, predicted, tuple(classes), numbers, separator_in(tables), tables)
    figures = TASKS[task](gold, predictions, options)
    return {"task": task, "gold": str(gold), "predictions": str(predictions)} | figures


def tables_in(task: str, settings: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """The tables of methods that are set. Raises InputError for keys that there are not."""
    return apply_settings(Recipe(verb="adapt", objective=(task,)), settings).tables


def separator_in(tables: Mapping[str, Any]) -> str | None:
    """classify.separator, where it is set."""
    found = tables.get("classify", {}).get("separator", "auto")
    return None if found == "auto" else found


def score_classes(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    true, said = open_rows(gold), open_rows(predictions)
    return _classes(true, said, _columns(true, said, options), options)


def score_pairs(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    true, said = open_rows(gold), open_rows(predictions)
    columns = _columns(true, said, options)
    labels = (row.fields.get(columns[0]) for row in true.rows)
    if options.numbers or (options.numbers is None and metrics.are_numbers(labels)):
        return _numbers(true, said, columns)
    return _classes(true, said, columns, options._replace(separator=ONE))


def _columns(true: Given, said: Given, options: Options) -> tuple[str, str]:
    """The column of the gold answers, and that of the predictions."""
    column = find_column(true, "--label", options.label, LABELS)
    return column, find_column(said, "--predicted", options.predicted, (*PREDICTED, column.lower()))


def _numbers(true: Given, said: Given, columns: tuple[str, str]) -> dict[str, Any]:
    rows = align(true, said)
    gold = np.array([number_of(row, columns[0]) for row, _ in rows])
    predicted = np.array([number_of(row, columns[1]) for _, row in rows])
    return {"items": len(rows), "pearson": metrics.pearson(gold, predicted),
            "spearman": metrics.spearman(gold, predicted),
            "mean_absolute_error": float(np.abs(gold - predicted).mean())}  # fmt: skip


def _classes(true: Given, said: Given, columns: tuple[str, str], options: Options) -> dict[str, Any]:
    rows = align(true, said)
    separator = options.separator or separator_of(label_of(cell(row, columns[0])) for row, _ in rows)
    if separator != ONE:
        return _several(rows, columns, true.name, options, separator)
    gold = [label_of(cell(row, columns[0])) for row, _ in rows]
    predicted = [label_of(cell(row, columns[1])) for _, row in rows]
    refuse_strangers(predicted, [row for _, row in rows], gold, true.name, options.classes, "label")
    found = class_figures(gold, predicted)
    sure = [row.fields.get("probability") for _, row in rows]
    if all(isinstance(share, int | float) for share in sure):
        right = [one == other for one, other in zip(gold, predicted, strict=True)]
        found["calibration_error"] = metrics.expected_calibration_error(sure, right)
    return found


def _several(rows: Sequence[tuple[Row, Row]], columns: tuple[str, str], name: str, options: Options,
             separator: str) -> dict[str, Any]:  # fmt: skip
    """Any number of labels a row: lists, or with a separator between them."""
    gold = [labels_in(label_of(cell(row, columns[0])), separator) for row, _ in rows]
    known = ordered({label for labels in gold for label in labels} | set(options.classes))
    predicted = [_predicted_labels(row, columns[1], separator, known) for _, row in rows]
    refuse_strangers(*_flat(predicted, rows), known, name, (), "label")
    return _labels.score(_labels.holds(gold, known), _labels.holds(predicted, known), known)


def _predicted_labels(row: Row, column: str, separator: str, known: Sequence[str]) -> Sequence[str]:
    """Those of one row, by whatever separator leaves labels that are known; an empty cell is none."""
    value = row.fields.get(column)
    text = "" if value is None else label_of(value)
    cuts = [labels_in(text, mark) for mark in (separator, *SEPARATORS, " ")] if text else [()]
    return next((labels for labels in cuts if set(labels) <= set(known)), cuts[0])


def _flat(lists: Sequence[Sequence[str]], rows: Sequence[tuple[Row, Row]]) -> tuple[list[str], list[Row]]:
    """Every predicted label, and the row it stands in."""
    return ([one for part in lists for one in part],
            [row for (_, row), part in zip(rows, lists, strict=True) for _ in part])  # fmt: skip


def class_figures(gold: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    """Figures of two lists of labels, and the confusion matrix (rows: gold)."""
    names = ordered({*gold, *predicted})
    return _one_label.score(_one_label.indices(gold, names), _one_label.indices(predicted, names), names)


def refuse_strangers(predicted: Sequence[str], rows: Sequence[Row], gold: Iterable[str], name: str,
                     classes: Sequence[str], noun: str) -> None:  # fmt: skip
    """Raises InputError for a predicted label that the gold file does not have and nobody named."""
    known = {*gold, *classes}
    place = next((place for place, label in enumerate(predicted) if label not in known), None)
    if place is not None:
        label, names = predicted[place], ordered(known)
        hint = (
            f"{did_you_mean(label, names)}There is: {listing(names)}. If `{label}` may be predicted: --classes {label}"
        )
        raise InputError(rows[place].where, f"the {noun} `{label}` is not in {name}", hint)


def score_written(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    """Exact match of written answers; one that is no label at all, or empty, is wrong, and no error."""
    true, said = open_rows(gold), open_rows(predictions)
    columns = _columns(true, said, options)
    rows = align(true, said)
    right = [label_of(cell(row, columns[0])) for row, _ in rows]
    written = [label_of(row.fields.get(columns[1]) or "") for _, row in rows]
    known = {*right, *options.classes}
    labels = sum(one in known for one in written)
    return prompt.judged(right, written) | {"labels": labels / len(rows)}


def score_tags(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    true, said = open_rows(gold), open_rows(predictions)
    column = find_column(true, "--label", options.label, TAGS)
    other = find_column(said, "--predicted", options.predicted, ("prediction", column.lower(), *TAGS))
    rows = align(true, said, texts=False)  # words are compared instead
    tags = [_list(row, column, "tags") for row, _ in rows]
    guesses = [_list(row, other, "tags") for _, row in rows]
    for (one, two), right, guess in zip(rows, tags, guesses, strict=True):
        _same_words(one, two, right, guess)
    flat = [tag for one in tags for tag in one]
    bio = spans.is_bio(flat)
    known = {*flat, *(UPOS if set(flat) <= set(UPOS) else ()), *(_kin(flat) if bio else ())}
    refuse_strangers(*_flat(guesses, rows), known, true.name, options.classes, "tag")
    found = class_figures(flat, [tag for one in guesses for tag in one]) | {"sentences": len(rows)}
    return found | (_span_figures(tags, guesses) if bio else {})


def _span_figures(tags: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]]) -> dict[str, Any]:
    found = spans.span_f1(tags, guesses)
    return {"spans": found["support"], "span_precision": found["precision"], "span_recall": found["recall"],
            "span_f1": found["f1"], "types": found["types"]}  # fmt: skip


def _kin(tags: Iterable[str]) -> set[str]:
    """Every tag that can be made of the types and letters there: I-PER where only B-PER was seen."""
    parts = {tuple(tag.partition("-")) for tag in tags if tag != spans.OUTSIDE}
    return {letter + hyphen + kind for letter in "BIES" for _, hyphen, kind in parts} | {spans.OUTSIDE}


def _same_words(gold: Row, said: Row, tags: Sequence[str], guesses: Sequence[str]) -> None:
    """Raises InputError where tags and words are of unequal number, or the words of both files differ."""
    words, others = (_words(row) for row in (gold, said))
    for row, own, number in ((gold, words, len(tags)), (said, others or words, len(guesses))):
        if own is not None and len(own) != number:
            raise InputError(
                row.where, f"{count(len(own), 'word')} and {count(number, 'tag')}", "Give each word one tag."
            )
    if len(tags) != len(guesses):
        what = f"{count(len(guesses), 'tag')} where {gold.where} has {len(tags):,}"
        raise InputError(said.where, what, "Give each word one tag.")
    for place, (one, other) in enumerate(zip(words or (), others or (), strict=bool(words and others)), 1):
        if one != other:
            what = f"word {place} is `{other}`, and `{one}` in {gold.where}"
            raise InputError(said.where, what, "Score predictions for the same words, in the same order.")


def _words(row: Row) -> list[str] | None:
    return next((_list(row, name, "words") for name in WORDS if name in row.fields), None)


def _list(row: Row, column: str, noun: str) -> list[str]:
    """A cell that is a list, or a string cut at blanks. Raises InputError for anything else."""
    value = row.fields.get(column)
    if isinstance(value, str):
        return value.split()
    if not isinstance(value, list):
        raise InputError(row.where, f"`{column}` is no list of {noun}", f'Write {noun} as a list: ["A", "B"].')
    return [label_of(one) for one in value]


def score_answers(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    true, said = open_rows(gold), open_answers(predictions)
    ids = has_ids(true) and has_ids(said)
    column = find_column(said, "--predicted", options.predicted, ANSWER)
    if ids:
        questions, given = by_id(true), by_id(said)
        refuse_unknown(true, questions, given)
    else:
        rows = align(true, said)
        questions, given = ({str(place): pair[side] for place, pair in enumerate(rows)} for side in (0, 1))
    golds = {id: _gold_answers(row) for id, row in questions.items()}
    version = 2 if any(row.fields.get("impossible") for row in questions.values()) else 1
    found = answers.score(golds, {id: _answer(row, column) for id, row in given.items()}, version)
    return found | {"version": f"{version}.{2 - version}", "missing": [id for id in golds if id not in given]}


def _gold_answers(row: Row) -> list[str]:
    """The gold answers of a question. Raises InputError where they are not given."""
    given = row.fields.get("answers")
    given = given.get("text") if isinstance(given, dict) else given
    texts = [one.get("text") if isinstance(one, dict) else one for one in given] if isinstance(given, list) else [None]
    if all(isinstance(text, str) for text in texts):
        return [str(text) for text in texts]
    raise InputError(
        row.where, "has no `answers`", 'Give SQuAD JSON, or rows with "id" and "answers": [{"text": "…"}].'
    )


def _answer(row: Row, column: str) -> str:
    """The predicted answer; none is the empty one. Raises InputError for what is no text."""
    value = row.fields.get(column)
    if not isinstance(value, str | None):
        raise InputError(row.where, f"`{column}` is no text", "Write the answer as a string; empty for no answer.")
    return value or ""


TASKS: dict[str, Callable[[str | Path, str | Path, Options], dict[str, Any]]] = {
    "classify": score_classes,
    "pairs": score_pairs,
    "prompt": score_written,
    "tag": score_tags,
    "span": score_answers,
    "transcribe": score_transcripts,
    "verify": score_trials,
}
