"""`firth score` of transcripts (WER, CER, PER as `jiwer` counts them) and of trials (the equal error rate)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from firth.errors import InputError
from firth.evaluate.prediction_files import Given, Options, Row, align, cell, find_column, number_of, open_rows
from firth.functional.cells import label_of, listed
from firth.functional.verification import equal_error
from firth.tasks import transcribe
from firth.tasks.transcribe import COLUMNS, Said

HEARD = ("prediction", "transcript", "predicted", "hypothesis", "phones", "text", "label")  # columns of predictions
KINDS = ("label", "same", "target", "gold")  # columns that say whether a trial is of one speaker
SCORES = ("prediction", "score", "cosine", "similarity", "predicted", "label")  # columns of what a model says of it
SAME = {"1": True, "same": True, "target": True, "true": True, "yes": True,
        "0": False, "different": False, "nontarget": False, "impostor": False, "false": False, "no": False}  # fmt: skip
HIGHER = "Write a number, the higher the more alike the two clips are."


def score_transcripts(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    """Phones where the gold transcripts are lists or transcribe.units says so, else words and characters.

    A prediction may be empty; a gold transcript may not.
    """
    true, said = open_rows(gold), open_rows(predictions)
    column = find_column(true, "--label", options.label, COLUMNS)
    other = find_column(said, "--predicted", options.predicted, (*HEARD, column.lower()))
    rows = align(true, said, texts=False)  # `text` may be the transcript in one file and the clip in the other
    config = config_of(options.tables, [row for row, _ in rows], column)
    golds = [config.cut(label_of(cell(row, column))) for row, _ in rows]
    heard = [config.cut(label_of(value) if (value := row.fields.get(other)) is not None else "") for _, row in rows]
    return transcribe.score(written(config, golds), written(config, heard), config.units == "phones")


def config_of(tables: Mapping[str, Any], rows: list[Row], column: str) -> transcribe.Config:
    """The table of the task, its units by content where nobody says."""
    config = transcribe.Config(**tables.get("transcribe", {}))
    if config.units != "auto":
        return config
    lists = all(listed(label_of(row.fields.get(column) or "")) is not None for row in rows)
    return config.model_copy(update={"units": "phones" if lists else "characters"})


def written(config: transcribe.Config, side: list[Said]) -> list[str]:
    return [config.written(one) for one in side]


def score_trials(gold: str | Path, predictions: str | Path, options: Options) -> dict[str, Any]:
    """Equal error rate over pairs: the gold file says which are of one speaker, the other a score for each pair."""
    true, said = open_rows(gold), open_rows(predictions)
    column = find_column(true, "--label", options.label, KINDS)
    other = find_column(said, "--predicted", options.predicted, SCORES)
    rows = align(true, said, texts=False)
    same = [kind_of(row, column) for row, _ in rows]
    scores = [number_of(row, other, "no score", HIGHER) for _, row in rows]
    refuse_one_kind(true, same)
    found = equal_error(scores, same)
    return {"items": len(rows), "same": sum(same), "different": len(same) - sum(same), "eer": found.rate,
            "threshold": found.threshold}  # fmt: skip


def kind_of(row: Row, column: str) -> bool:
    """Whether the pair is of one speaker. Raises InputError for a cell that does not say so."""
    value = label_of(cell(row, column))
    if value.lower() not in SAME:
        raise InputError(row.where, f"`{column}` is `{value}`, neither same nor different", "Write 1 or 0.")
    return SAME[value.lower()]


def refuse_one_kind(true: Given, same: list[bool]) -> None:
    """Raises InputError where there is nothing to tell apart."""
    if all(same) or not any(same):
        what = f"all {len(same):,} trials are {'same' if same[0] else 'different'} ones"
        raise InputError(true.name, what, "Give trials of both kinds.")
