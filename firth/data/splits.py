"""Train, validation and test part of labelled records: by content hash, per class; equal texts never part."""

from collections import Counter
from dataclasses import dataclass, field

from firth.data.labels import ClassesOf
from firth.data.records import Record, Where
from firth.functional.random import Draw, combine, hash_bytes
from firth.task import own_class

FEW = 1000  # examples; up to here a fifth validates, beyond it a tenth
MOST_VALID = 2000  # examples


@dataclass
class Split:
    """Records by part, and what was found on the way."""

    parts: dict[str, list[Record]]
    duplicates: int = 0  # examples dropped because an equal text with the same label came before
    conflicts: int = 0  # equal texts with different labels; the first label stays
    leaks: int = 0  # training examples dropped because their text is in the validation or test files
    notes: list[tuple[Where, str]] = field(default_factory=list)


def split(records: dict[str, list[Record]], labels: int | None, seed: int, test_share: float = 0.0,
          drop: bool = True, classes_of: ClassesOf = own_class, by_class: bool = False) -> Split:  # fmt: skip
    """records: those of the files given for "train", "valid", "test" (may be empty) → the parts to use.

    labels: size of train + validation together, drawn with the seed, as many of each class as its share.
    drop: of equal texts in the train files only the first stays; where they stay, they stay on one side.
    The test files are never changed; what they share with the others is dropped from the others.
    classes_of: the classes of a record; one of several goes by its rarest. by_class: `labels` are drawn of each class,
    as many as there are at most; where that is one, it is both learnt from and validated on.
    """
    done = Split({part: list(found) for part, found in records.items()})
    if drop:
        done.parts["train"] = _distinct(done.parts["train"], done)
    for part, others in (("valid", ("test",)), ("train", ("test", "valid"))):
        _drop_leaks(part, others, done)
    if test_share and not done.parts["test"]:
        done.parts["train"], done.parts["test"] = _cut(done.parts["train"], test_share, classes_of)
    if by_class and labels is not None:
        done.parts["train"] = _drawn(done.parts["train"], labels, seed, classes_of, each=True)
        if labels == 1 and not done.parts["valid"]:
            done.parts["valid"] = list(done.parts["train"])
            return done
        labels = len(done.parts["train"])
    _budget(done.parts, labels, seed, classes_of)
    return done


def _budget(parts: dict[str, list[Record]], labels: int | None, seed: int, classes_of: ClassesOf) -> None:
    """Draw the examples of the budget, and split a validation part off where no file was given for it."""
    size = min(labels or len(parts["train"]), len(parts["train"]))
    share = 0.2 if size <= FEW else 0.1
    if not parts["valid"]:
        chosen = _drawn(parts["train"], size, seed, classes_of)
        parts["train"], parts["valid"] = _cut(chosen, min(share, MOST_VALID / max(size, 1)), classes_of)
    elif labels is not None:  # the validation file counts into the budget, too
        amount = min(max(round(share * size), 1), len(parts["valid"]))
        parts["valid"] = _drawn(parts["valid"], amount, seed, classes_of)
        parts["train"] = _drawn(parts["train"], size - amount, seed, classes_of)


def content(record: Record) -> int:
    """The 64-bit hash of a text, case and blanks left out of account; of other things what their file says."""
    return record.content or hash_bytes(" ".join(record.text.casefold().split()).encode("utf-8", "replace"))


def _group(record: Record) -> int:
    """The hash of what must stay on one side: a group of examples, or the text itself."""
    return content(record._replace(text=record.group, content=0)) if record.group else content(record)


def _distinct(records: list[Record], done: Split) -> list[Record]:
    """The first record of each text; a second one with another label is named."""
    first: dict[int, Record] = {}
    for record in records:
        earlier = first.setdefault(content(record), record)
        if earlier is not record and earlier.label == record.label:
            done.duplicates += 1
        elif earlier is not record:
            done.conflicts += 1
            done.notes.append((record.where, f"the same text has the label `{earlier.label}` at {earlier.where}; "
                                             f"`{record.label}` is left out"))  # fmt: skip
    return list(first.values())


def _drop_leaks(part: str, others: tuple[str, ...], done: Split) -> None:
    """Take out of a part what is in the others, naming the first places."""
    places = {content(record): record.where for other in others for record in done.parts[other]}
    leaked = [record for record in done.parts[part] if content(record) in places] if places else []
    done.leaks += len(leaked)
    for record in leaked:
        done.notes.append((record.where, f"is at {places[content(record)]}, too, and is left out of the {part} part"))
    if leaked:
        done.parts[part] = [record for record in done.parts[part] if content(record) not in places]


def _by_class(records: list[Record], classes_of: ClassesOf) -> dict[str, list[Record]]:
    """Records by their class: of several the rarest, so that it comes to both sides of a cut where it can."""
    counts = Counter(name for record in records for name in classes_of(record))
    classes: dict[str, list[Record]] = {}
    for record in records:
        rarest = min(classes_of(record), key=lambda name: (counts[name], name), default="")
        classes.setdefault(rarest, []).append(record)
    return classes


def _cut(records: list[Record], share: float, classes_of: ClassesOf) -> tuple[list[Record], list[Record]]:
    """(rest, part): the `share` of each class with the least content hash, at least one and never all of a class."""
    part: set[int] = set()
    for found in _by_class(records, classes_of).values():
        hashes = sorted({int(combine(_group(record))) for record in found})
        count = min(max(round(share * len(hashes)), 1), len(hashes) - 1)
        part.update(hashes[:count])
    inside = [int(combine(_group(record))) in part for record in records]
    return ([record for record, yes in zip(records, inside, strict=True) if not yes],
            [record for record, yes in zip(records, inside, strict=True) if yes])  # fmt: skip


def _drawn(records: list[Record], amount: int, seed: int, classes_of: ClassesOf, each: bool = False) -> list[Record]:
    """`amount` records in their order, the classes as frequent as in all, at least two of each where there are.

    each: so many of each class.
    """
    if amount >= len(records):
        return records
    classes = _by_class(records, classes_of)
    sizes = {label: len(found) for label, found in classes.items()}
    quota = dict.fromkeys(sizes, amount) if each else _quota(sizes, amount)
    chosen: set[int] = set()
    for label, found in classes.items():
        bits = Draw(seed).bits([content(record) for record in found], "labels", 1)[:, 0]
        chosen.update(id(found[i]) for i in bits.argsort(kind="stable")[: quota[label]].tolist())
    return [record for record in records if id(record) in chosen]


def _quota(sizes: dict[str, int], amount: int) -> dict[str, int]:
    """Whole numbers that sum to `amount`, near each class's share (largest remainders), two each if that fits."""
    total = sum(sizes.values())
    least = {label: min(2 if amount >= 2 * len(sizes) else 0, size) for label, size in sizes.items()}
    exact = {label: amount * size / total for label, size in sizes.items()}
    quota = {label: max(int(exact[label]), least[label]) for label in sizes}
    while (missing := amount - sum(quota.values())) != 0:
        step = 1 if missing > 0 else -1
        able = [label for label in sizes if least[label] <= quota[label] + step <= sizes[label]]
        label = min(able, key=lambda label: (step * (quota[label] - exact[label]), label))
        quota[label] += step
    return quota
