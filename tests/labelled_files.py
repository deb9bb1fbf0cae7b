"""Labelled files of the toy language for what lies beyond classify: tags, pairs, questions, choices."""

import json
import random
import zipfile
from pathlib import Path

from tests.material import TOPICS, VERBS

ARTICLES = ("The", "the")


def tagged(source: random.Random) -> list[tuple[str, str]]:
    """One sentence as (word, tag)."""
    nouns, adjectives = TOPICS[source.choice(sorted(TOPICS))]
    first, second = source.sample(nouns, 2)
    return [("The", "DET"), (source.choice(adjectives), "ADJ"), (first, "NOUN"), (source.choice(VERBS), "VERB"),
            ("the", "DET"), (second, "NOUN"), (".", "PUNCT")]  # fmt: skip


def conllu(sentences: list[list[tuple[str, str]]]) -> str:
    blocks = [
        "\n".join(f"{i}\t{word}\t_\t{tag}\t_\t_\t0\t_\t_\t_" for i, (word, tag) in enumerate(one, 1))
        for one in sentences
    ]
    return "\n\n".join(blocks) + "\n\n"


def write_tags(folder: Path, count: int = 80, seed: int = 0, name: str = "tags.conllu") -> Path:
    source = random.Random(seed)
    path = Path(folder) / name
    path.write_text(conllu([tagged(source) for _ in range(count)]), encoding="utf-8")
    return path


def write_pairs(folder: Path, count: int = 90, seed: int = 0, name: str = "pairs.tsv") -> Path:
    """premise, hypothesis, label, closeness: the label hangs on the second text's verb."""
    source, rows = random.Random(seed), ["id\tpremise\thypothesis\tlabel\tcloseness"]
    for number in range(count):
        label = ("entailment", "neutral", "contradiction")[number % 3]
        noun = source.choice(TOPICS["sea"][0])
        word = {"entailment": "moves", "neutral": "shines", "contradiction": "sleeps"}[label]
        first = f"A {noun} moves past the old bridge {source.randrange(10**6)}."
        closeness = {"entailment": 4.5, "neutral": 2.5, "contradiction": 1.0}[label] + source.random() / 4
        rows.append(f"{number}\t{first}\tThe {noun} {word} there.\t{label}\t{closeness:.2f}")
    path = Path(folder) / name
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def question(source: random.Random, number: int, sentences: int = 4) -> dict:
    """A paragraph and a question on one of its sentences: what does the … find?"""
    nouns = source.sample(TOPICS["sea"][0], 4) + source.sample(TOPICS["farm"][0], 4)
    pairs = [(nouns[i], nouns[i + 4]) for i in range(min(sentences, 4))]
    context = " ".join(f"The {first} carries the {second}." for first, second in pairs)
    first, second = source.choice(pairs)
    answer = {"text": second, "answer_start": context.index(f"carries the {second}") + len("carries the ")}
    asked = {"id": f"q{number}", "question": f"What does the {first} carry?", "answers": [answer]}
    return {"context": context, "qas": [asked]}


def write_questions(folder: Path, count: int = 60, seed: int = 0, name: str = "questions.json", **options) -> Path:
    source = random.Random(seed)
    paragraphs = [question(source, number, **options) for number in range(count)]
    path = Path(folder) / name
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "toy", "paragraphs": paragraphs}]}), "utf-8")
    return path


def write_minimal_pairs(folder: Path, count: int = 20, seed: int = 0, name: str = "blimp.zip") -> Path:
    """A zip as BLiMP's, two paradigms: the verb after a noun, and the order of article and noun."""
    source = random.Random(seed)
    path = Path(folder) / name
    with zipfile.ZipFile(path, "w") as archive:
        for paradigm in ("verb_form", "word_order"):
            rows = [{**minimal_pair(paradigm, source), "UID": paradigm, "linguistics_term": paradigm.split("_")[0]}
                    for _ in range(count)]  # fmt: skip
            archive.writestr(f"blimp/{paradigm}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    return path


def minimal_pair(paradigm: str, source: random.Random) -> dict[str, str]:
    noun, verb = source.choice(TOPICS["sea"][0]), source.choice(VERBS)
    bad = f"The {noun} {verb[:-1]} it." if paradigm == "verb_form" else f"{noun.title()} the {verb} it."
    return {"sentence_good": f"The {noun} {verb} it.", "sentence_bad": bad}


def write_choices(folder: Path, count: int = 20, seed: int = 0, name: str = "choices.jsonl") -> Path:
    source = random.Random(seed)
    rows = [{"prompt": f"The {source.choice(TOPICS['farm'][0])}", "choices": [source.choice(VERBS), "the"], "answer": 0}
            for _ in range(count)]  # fmt: skip
    path = Path(folder) / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_faulty(folder: Path) -> None:
    """Tables of labels, each wrong in one way: a label seen once, misspelt, only one label, two encodings."""
    head, rows = "text\tlabel\n", [f"some text, number {i}\t{'positive' if i % 2 else 'negative'}\n" for i in range(20)]
    (folder / "once.tsv").write_text(head + "".join(rows) + "a quiet film\tneutral\n")
    (folder / "near.tsv").write_text(head + "".join(rows) + "a quiet film\tpostive\n")
    (folder / "one.tsv").write_text(head + "".join(rows[1::2]))
    (folder / "mixed.tsv").write_bytes(head.encode() + "Zoë\ta\n".encode() * 9 + b"caf\xe9\tb\n")


def topics_of(source: random.Random) -> tuple[str, list[str]]:
    """A text about none, one or two topics, and their names."""
    chosen = sorted(source.sample(sorted(TOPICS), source.choice([0, 1, 1, 2, 2])))
    told = [f"The {source.choice(TOPICS[topic][0])} {source.choice(VERBS)} the {source.choice(TOPICS[topic][0])}."
            for topic in chosen]  # fmt: skip
    return " ".join([*told, f"Nothing else is said in number {source.randrange(10**6)}."]), chosen


def write_topics(
    folder: Path, count: int = 90, seed: int = 0, name: str = "topics.tsv", separator: str | None = "|"
) -> Path:
    """text, label: any number of topics, with a separator between them; None: as lists, in JSON lines."""
    source, path = random.Random(seed), Path(folder) / name
    rows = [topics_of(source) for _ in range(count)]
    if separator is None:
        lines = [json.dumps({"text": text, "label": chosen}) for text, chosen in rows]
    else:
        lines = ["text\tlabel", *(f"{text}\t{separator.join(chosen) or '[]'}" for text, chosen in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
