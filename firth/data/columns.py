"""Which column holds the text, and which the label: by content, with the name as a hint; --text and --label decide."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from firth.errors import InputError, did_you_mean
from firth.functional.cells import ONE, label_of, labels_in, separator_of

TEXT_NAMES = ["text", "sentence", "content", "review", "body", "document", "comment", "message", "article", "tweet"]
LABEL_NAMES = ["label", "class", "category", "sentiment", "target", "rating", "stars", "polarity", "topic", "intent",
               "labels", "classes", "categories", "topics", "genres", "emotions"]  # fmt: skip
LABEL_LENGTH = 40  # characters; a longer cell is no label
SAMPLE = 1000  # rows looked at


class Columns(NamedTuple):
    """The columns in use; label is None where there is none."""

    text: str
    label: str | None


class Facts(NamedTuple):
    """What the sample says about one column."""

    name: str
    strings: float  # share of rows with a string that is not empty
    distinct: int
    rows: int  # with a value
    mean: float  # characters
    longest: int  # characters
    words: float  # mean number of words
    single: int  # values that come once


def find_columns(rows: Sequence[Mapping[str, Any]], where: str, text: str | None = None, label: str | None = None,
                 labelled: bool = False) -> Columns:  # fmt: skip
    """Text and label column of a table, by its first rows. Raises InputError where it cannot be told.

    labelled: a label column must be found; otherwise it is found where it is plain to see.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    for option, given in (("--text", text), ("--label", label)):
        if given is not None and given not in names:
            listed = ", ".join(f"`{name}`" for name in names)
            hint = f"{did_you_mean(given, names)}{option} can be {listed}."
            raise InputError(where, f"has no column `{given}`", hint)
    cells = {name: [row.get(name) for row in rows] for name in names}
    facts = {name: describe(name, found) for name, found in cells.items()}
    text = text or _text(facts, where, label)
    several = [
        name for name in names if name != text and not is_label(facts[name]) and holds_several(name, cells[name])
    ]
    return Columns(text, label or _label(facts, several, where, text, labelled))


def describe(name: str, values: Iterable[Any]) -> Facts:
    """Counts over the values of one column."""
    values = [value for value in values if value is not None and value != ""]
    counts = Counter(map(str, values))
    rows = max(len(values), 1)
    strings = sum(isinstance(value, str) and not _is_number(value) for value in values) / rows
    lengths = [len(str(value)) for value in values]
    words = sum(len(str(value).split()) for value in values) / rows
    single = sum(count == 1 for count in counts.values())
    return Facts(name, strings, len(counts), len(values), sum(lengths) / rows, max(lengths, default=0), words, single)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _text(facts: dict[str, Facts], where: str, label: str | None) -> str:
    """The column of running words: the longest distinct strings, a telling name counting three times."""
    scores = {name: _text_score(one) for name, one in facts.items() if name != label}
    best = max(scores, key=lambda name: scores[name], default="")
    if scores.get(best, 0) <= 0:
        listed = ", ".join(f"`{name}`" for name in facts)
        raise InputError(where, "no column looks like text", f"Name it: --text can be {listed}.")
    return best


def _text_score(one: Facts) -> float:
    hint = 3.0 if one.name.lower() in TEXT_NAMES else 1.0
    wordy = one.words * (one.distinct / max(one.rows, 1))
    return hint * wordy if one.strings > 0.5 else 0.0


def _label(facts: dict[str, Facts], several: list[str], where: str, text: str, labelled: bool) -> str | None:
    """The column of few, short, repeated values; among many, the one with a telling name. several: the columns whose
    cells hold several labels, which are looked at where no other fits."""
    fitting = [name for name, one in facts.items() if name != text and is_label(one)]
    named = [name for hint in LABEL_NAMES for name in [*fitting, *several] if name.lower() == hint]
    fitting = fitting or several
    if named or len(fitting) == 1:
        return (named or fitting)[0]
    if not labelled:
        return None
    listed = ", ".join(f"`{name}`" for name in facts if name != text)
    if fitting:
        could = " and ".join(f"`{name}`" for name in fitting)
        raise InputError(where, f"{could} look like labels", f"Say which: --label {fitting[0]}")
    hint = f"Name it: --label can be {listed}." if listed else "Add a column that holds the label of each text."
    raise InputError(where, "no column looks like a label", hint)


def holds_several(name: str, values: Iterable[Any]) -> bool:
    """Whether the cells of a column are lists of labels, or labels with a separator between them."""
    written = [label_of(value) for value in values if value is not None and value != ""]
    separator = separator_of(written)
    return separator != ONE and is_label(
        describe(name, [one for cell in written for one in labels_in(cell, separator)])
    )


def is_label(one: Facts) -> bool:
    """Few distinct short values that come again; a column named as labels are needs only to be short."""
    if not one.rows or one.longest > LABEL_LENGTH:
        return False
    named = one.name.lower() in LABEL_NAMES
    repeated = 2 <= one.distinct <= max(2, one.rows // 4)
    return repeated or (named and one.distinct < one.rows) or (named and one.rows <= 8)
