"""Small corpora the tests write themselves: a toy language with topics, sentences that go on, and labels."""

import json
import random
from pathlib import Path

TOPICS = {
    "sea": (
        ["ship", "sail", "wave", "harbour", "anchor", "captain", "storm", "tide"],
        ["blue", "deep", "wide", "salty"],
    ),
    "farm": (
        ["cow", "field", "barn", "plough", "wheat", "farmer", "horse", "fence"],
        ["green", "warm", "wide", "muddy"],
    ),
    "town": (
        ["street", "shop", "tram", "clock", "market", "mayor", "square", "bridge"],
        ["busy", "old", "loud", "narrow"],
    ),
    "star": (
        ["planet", "comet", "orbit", "moon", "rocket", "engine", "crew", "signal"],
        ["cold", "dark", "bright", "distant"],
    ),
}
VERBS = ["meets", "leaves", "finds", "follows", "passes", "watches", "carries", "loses"]
GOOD = ["wonderful", "brilliant", "moving", "funny", "delightful", "superb"]
BAD = ["dreadful", "boring", "clumsy", "stale", "tedious", "awful"]


def sentence(topic: str, source: random.Random) -> str:
    """Subject, verb, object of one topic."""
    nouns, adjectives = TOPICS[topic]
    first, second = source.sample(nouns, 2)
    return f"The {source.choice(adjectives)} {first} {source.choice(VERBS)} the {second}."


def document(source: random.Random, sentences: int = 8) -> str:
    """A paragraph about one topic, so that its sentences keep each other company."""
    topic = source.choice(sorted(TOPICS))
    return " ".join(sentence(topic, source) for _ in range(sentences))


def documents(count: int = 200, seed: int = 0, sentences: int = 8) -> list[str]:
    source = random.Random(seed)
    return [document(source, sentences) for _ in range(count)]


def write_corpus(folder: Path, count: int = 200, seed: int = 0, sentences: int = 8) -> Path:
    """One .txt file of blank-line blocks."""
    path = Path(folder) / "corpus.txt"
    path.write_text("\n\n".join(documents(count, seed, sentences)) + "\n", encoding="utf-8")
    return path


def review(label: str, source: random.Random) -> str:
    """A short review whose label is decided by one word."""
    word = source.choice(GOOD if label == "positive" else BAD)
    first, second = source.choice(TOPICS["sea"][0]), source.choice(TOPICS["town"][0])
    return f"A {word} film about the {first} and the {second} {source.randrange(10**6)}."


def write_labels(folder: Path, count: int = 120, seed: int = 0, name: str = "reviews.tsv") -> Path:
    """A .tsv with columns text and label, both classes equally often."""
    source = random.Random(seed)
    rows = [(review(label, source), label) for label in ["positive", "negative"] * (count // 2)]
    path = Path(folder) / name
    lines = ["text\tlabel"] + [f"{text}\t{label}" for text, label in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_jsonl(folder: Path, count: int = 50, seed: int = 0) -> Path:
    path = Path(folder) / "documents.jsonl"
    path.write_text(
        "".join(json.dumps({"title": str(i), "text": t}) + "\n" for i, t in enumerate(documents(count, seed)))
    )
    return path
