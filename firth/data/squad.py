"""SQuAD JSON: questions on documents, with the answers' places; v1.1 (arXiv 1606.05250) and v2.0 (arXiv 1806.03822).

A file is one JSON object, parsed as a whole. A .json file that holds one object a line is read as JSON lines.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from firth.data import jsonl
from firth.data.encodings import CHUNK, CONVERT, UNPACK, binary, pieces, place, sniff
from firth.data.records import Problems, Where

LIMIT = 1 << 30  # bytes of a JSON file; parsed, it takes several times as much memory
SHOWN = 60  # characters of an answer in a message
ID = re.compile(r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+)')
SKIP = "--skip-bad leaves out such questions."
SPLIT = "Split it by articles, or write one question a line into a .jsonl file."
LINES = "SQuAD has a list `data`; for anything else write one object a line: jq -c . OLD.json > NEW.jsonl"
VALID = "Write the file again with a JSON library; one JSON object a line belongs into a .jsonl file."
SHAPE = "In SQuAD, articles in `data` have `paragraphs`, these a `context` and `qas`, and these `id` and `question`."


class Question(NamedTuple):
    """One question as it stands in the file."""

    item: dict[str, Any]
    id: str
    context: str
    title: str


def rows(stream, name: str, problems: Problems) -> Iterator[tuple[Where, dict[str, Any]]]:
    """Each question and its place: {"id", "title", "context", "question", "answers", "impossible"}.

    stream: binary, since a SQuAD file is often a single line. answers: [{"text", "start"}], start in characters of
    context from 0, empty where impossible (v2.0). A question whose answer is not at its place is a bad row.
    """
    head = stream.read(CHUNK)
    if is_lines(head):
        yield from jsonl.rows(pieces(Joined(head, stream), name, problems), name, problems)
        return
    text = whole(head, stream, name, problems)
    tree = parse(text, name, problems) if text is not None else None
    if text is None or tree is None:
        return
    places, seen = Places(text, name), set[str]()
    for one in questions(tree, name, problems):
        where = places.find(one.id)
        wrong = mistake(one, seen)
        seen.add(one.id)
        if wrong:
            problems.bad(where, f"question `{one.id}`: {wrong[0]}", wrong[1])
        else:
            yield where, _row(one)


class Joined:
    """A binary stream whose beginning was read already."""

    def __init__(self, head: bytes, stream):
        self.head, self.stream = head, stream

    def read(self, size: int) -> bytes:
        """At least what is left of the head, then the stream."""
        head, self.head = self.head, b""
        return head or self.stream.read(size)


def is_lines(head: bytes) -> bool:
    """Whether a file begins with a line that is a JSON object, and another line comes after it."""
    first, _, rest = head.lstrip().partition(b"\n")
    if not first.startswith(b"{") or not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def whole(head: bytes, stream, name: str, problems: Problems) -> str | None:
    """The text of a file, or None after the problem was noted."""
    encoding, mark = sniff(head[: 1 << 16])
    kind = binary(head[: 1 << 16]) if encoding.startswith("utf-8") else ""
    if kind:
        problems.bad(Where(name), f"is {kind}", UNPACK)
        return None
    held = head[mark:] + stream.read(LIMIT + 1 - len(head))
    if len(held) > LIMIT - mark:
        problems.bad(name, "is a JSON file of more than 1 GiB, which has to be parsed as a whole", SPLIT)
        return None
    try:
        return held.decode("utf-8" if encoding == "utf-8-sig" else encoding)
    except UnicodeDecodeError as error:
        where = place(name, held, error.start, 1) if encoding.startswith("utf-8") else Where(name)
        problems.bad(where, f"byte 0x{held[error.start]:02X} is not {encoding.upper()}", CONVERT)
        return None


def parse(text: str, name: str, problems: Problems) -> dict[str, Any] | None:
    """The object with its list `data`, or None after the problem was noted."""
    if text.lstrip().startswith("["):
        problems.bad(Where(name, 1, 1), "is one JSON array, not one object a line", jsonl.ARRAY)
        return None
    try:
        tree = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = Where(name, getattr(error, "lineno", 1), getattr(error, "colno", 1))
        problems.bad(where, f"is no valid JSON: {getattr(error, 'msg', 'nested too deeply')}", VALID)
        return None
    if isinstance(tree, dict) and isinstance(tree.get("data"), list):
        return tree
    problems.bad(Where(name, 1, 1), "is JSON, but no SQuAD file", LINES)
    return None


class Places:
    """Where each question stands, by its `id`, found in one pass over the text."""

    def __init__(self, text: str, name: str):
        self.text, self.name = text, name
        self.found = ID.finditer(text)
        self.line, self.begin, self.reached = 1, 0, 0  # the line, and offsets: its first character, how far it was read

    def find(self, wanted: str) -> Where:
        """The place of the next question of this id; the file alone where it is not found."""
        for match in self.found:
            self._go(match.start())
            if str(json.loads(match[1], strict=False)) == wanted:
                return Where(self.name, self.line, match.start() - self.begin + 1)
        return Where(self.name)

    def _go(self, offset: int) -> None:
        ends = self.text.count("\n", self.reached, offset)
        if ends:
            self.line += ends
            self.begin = self.text.rfind("\n", self.reached, offset) + 1
        self.reached = offset


def questions(tree: dict[str, Any], name: str, problems: Problems) -> Iterator[Question]:
    """The questions in their order; what has not the shape of SQuAD is a bad row."""
    for a, article in enumerate(tree["data"]):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            problems.bad(name, f"`data[{a}]` has no list `paragraphs`", SHAPE)
            continue
        for p, paragraph in enumerate(paragraphs):
            yield from _paragraph(
                paragraph, str(article.get("title") or ""), f"data[{a}].paragraphs[{p}]", name, problems
            )


def _paragraph(paragraph: Any, title: str, path: str, name: str, problems: Problems) -> Iterator[Question]:
    """The questions of one document."""
    for key, kind in (("context", str), ("qas", list)):
        if not isinstance(paragraph, dict) or not isinstance(paragraph.get(key), kind):
            return problems.bad(name, f"`{path}` has no `{key}`", SHAPE)
    for q, item in enumerate(paragraph["qas"]):
        for key, kinds in (("id", (str, int)), ("question", (str,))):
            if not isinstance(item, dict) or not isinstance(item.get(key), kinds):
                problems.bad(name, f"`{path}.qas[{q}]` has no `{key}`", SHAPE)
                break
        else:
            yield Question(item, str(item["id"]), paragraph["context"], title)


def mistake(one: Question, seen: set[str]) -> tuple[str, str] | None:
    """What is wrong with a question, and what to do; None where nothing is."""
    answers, impossible = one.item.get("answers") or [], bool(one.item.get("is_impossible"))
    if one.id in seen:
        return "another question has the same id", f"Give each question an id of its own; {SKIP}"
    if not one.item["question"].strip():
        return "the question is empty", f"Write the question, or leave it out; {SKIP}"
    if not one.context.strip():
        return "the document is empty", f"Fill in `context`, or leave the question out; {SKIP}"
    if impossible and answers:
        return "has an answer and `is_impossible`", f"Keep one of the two; {SKIP}"
    if not impossible and not answers:
        return "has no answer and no `is_impossible`", f'Add an answer, or "is_impossible": true; {SKIP}'
    return next(filter(None, (misplaced(answer, one.context) for answer in answers)), None)


def misplaced(answer: Any, context: str) -> tuple[str, str] | None:
    """What is wrong with one answer {"text", "answer_start"}, and what to do; None where nothing is."""
    text = answer.get("text") if isinstance(answer, dict) else None
    start = answer.get("answer_start") if isinstance(answer, dict) else None
    if not isinstance(text, str) or not text.strip():
        return "an answer is empty", f"Fill in `text`, or leave the answer out; {SKIP}"
    shown = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    if not isinstance(start, int):
        return f"the answer `{shown}` has no `answer_start`", f"Say at which character it begins, from 0; {SKIP}"
    if start >= 0 and context.startswith(text, start):
        return None
    found = nearest(text, max(start, 0), context)
    if found is None:
        return f"the answer `{shown}` is not in the document", f"Copy it from the document, letter by letter; {SKIP}"
    what = f"the answer `{shown}` is not at character {start:,} of the document; it is at {found:,}"
    return what, f"Set answer_start to {found} (characters count from 0); {SKIP}"


def nearest(text: str, start: int, context: str) -> int | None:
    """The place of text in context that is nearest to start."""
    after, before = context.find(text, start), context.rfind(text, 0, start + len(text))
    return min((at for at in (before, after) if at >= 0), key=lambda at: abs(at - start), default=None)


def _row(one: Question) -> dict[str, Any]:
    answers = [{"text": answer["text"], "start": answer["answer_start"]} for answer in one.item.get("answers") or []]
    impossible = bool(one.item.get("is_impossible"))
    return {"id": one.id, "title": one.title, "context": one.context, "question": one.item["question"],
            "answers": answers, "impossible": impossible}  # fmt: skip
