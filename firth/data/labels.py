"""What can be wrong with labels: seen once, misspelt, written in two ways, unknown to the model, only one of them."""

from collections import Counter, defaultdict
from collections.abc import Callable
from difflib import get_close_matches

from firth.data.records import Problems, Record, Where
from firth.data.row import label_place
from firth.errors import InputError, did_you_mean
from firth.functional.cells import ordered
from firth.task import own_class

ClassesOf = Callable[[Record], tuple[str, ...]]

RARE = 0.01  # share of a class below which a near name is taken for its misspelling
ADD = "Give at least two examples of each label, or leave out the row; --skip-bad leaves out such rows."
ONE_SPELLING = "Write it in one way everywhere; --skip-bad leaves out the rarer spelling."


def check_labels(records: list[Record], classes: tuple[str, ...] | None, problems: Problems,
                 classes_of: ClassesOf = own_class) -> list[Record]:  # fmt: skip
    """The records whose labels can be learnt. Raises InputError at file:line:column; with problems.skip drops.

    classes: those of a trained model; then every label must be one of them. classes_of: the labels of a record.
    """
    places: dict[str, list[Where]] = defaultdict(list)
    for record in records:
        for label in classes_of(record):
            places[label].append(label_place(record))
    wrong = _unknown(places, classes) if classes else _suspicious(places)
    for label, (what, do) in wrong.items():
        problems.bad(places[label][0], what, do)
    return [record for record in records if not wrong.keys() & set(classes_of(record))]


def need_two_classes(records: list[Record], where: str, classes_of: ClassesOf = own_class) -> None:
    """Raises InputError where there is nothing to tell apart."""
    labels = sorted({label for record in records for label in classes_of(record)})
    if len(labels) < 2:
        found = f"only the label `{labels[0]}` was found" if labels else "no labelled text was found"
        raise InputError(where, found, "Give examples of at least two labels; --label names the column.")


def class_names(records: list[Record], classes_of: ClassesOf = own_class) -> tuple[str, ...]:
    """The labels in order: by number where all are numbers, else by name."""
    return tuple(ordered({label for record in records for label in classes_of(record)}))


def _unknown(places: dict[str, list[Where]], classes: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    listed = ", ".join(f"`{name}`" for name in classes)
    return {
        label: (f"the label `{label}` is no class of the model", f"{did_you_mean(label, classes)}It has {listed}.")
        for label in places
        if label not in classes
    }


def _suspicious(places: dict[str, list[Where]]) -> dict[str, tuple[str, str]]:
    """Label → what is wrong and what to do, for those that no one can have meant."""
    counts = Counter({label: len(found) for label, found in places.items()})
    found: dict[str, tuple[str, str]] = {}
    for label, count in counts.items():
        larger = [other for other, number in counts.items() if (number, other) > (count, label)]
        twin = next((other for other in larger if other.casefold() == label.casefold()), None)
        near = _near(label, [other for other in larger if count == 1 or count <= RARE * counts[other]])
        if twin:
            what = f"the label `{label}` ({count:,}×) is written `{twin}` ({counts[twin]:,}×), too"
            found[label] = what, ONE_SPELLING
        elif near and counts[near] > 1:
            found[label] = _misspelt(label, count, near)
        elif count == 1:
            found[label] = f"the label `{label}` is seen only here", ADD
    return found


def _misspelt(label: str, count: int, near: str) -> tuple[str, str]:
    times = "once" if count == 1 else f"{count:,} times"
    return f"the label `{label}` is seen {times}", f"Did you mean `{near}`? {ADD}"


def _near(label: str, others: list[str]) -> str | None:
    """A name that differs by a slip of the keys; numbers never do."""
    if not any(letter.isalpha() for letter in label) or len(label) < 4:
        return None
    return next(iter(get_close_matches(label, others, n=1, cutoff=0.8)), None)
