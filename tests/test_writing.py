"""Text written on: prompts of any kind, stop strings, choices, pieces, and the command line over a trained run."""

import json
import time
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from firth.cli import app
from firth.errors import InputError
from firth.evaluate.inputs import Query
from firth.evaluate.predict import answers_to, load, predict
from firth.model.sampling import Writing
from firth.objectives import next_token
from firth.objectives._writing import Choices, Tail, asked, write_on, written
from firth.report.terminal import Terminal
from firth.signals.text import Config as TextConfig
from firth.signals.text import Text
from firth.train.pretrain import pretrain
from tests import contract, material, runs

SIGNALS = {
    kind: Text.fit(
        [*material.documents(40), "é 🙂 naïve so-so"],
        TextConfig(tokenizer=kind, frame="stream", vocabulary=300, context=24, lowercase=False),
    )
    for kind in ("bpe", "characters", "bytes")
}
PROMPTS = ["The ship", "", "x" * 200, "日本語 \u2603", "The grey captain meets the storm. " * 20]


@cache
def part(kind: str):
    """An untrained model, for which any token is about as likely as any other."""
    torch.manual_seed(0)
    objective = contract.build(["next-token"], torch.float32, "llama", vocabulary=SIGNALS[kind].facts.vocabulary)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    return objective.eval().parts["next-token"]


def made(kind: str, texts, stops=(), choices=(), **given):
    writing = Writing(**{"tokens": 30, "temperature": 1.0} | given)
    return written(write_on(part(kind), SIGNALS[kind], texts, writing, stops, choices))


@pytest.mark.parametrize("kind", SIGNALS)
def test_any_prompt_is_written_on_and_says_what_was_not_read(kind):
    found = made(kind, PROMPTS)
    assert [one.text for one in found] == PROMPTS
    sizes = [len(SIGNALS[kind].prompt(text)) for text in PROMPTS]
    assert [one.unread for one in found] == [max(0, size - 24) for size in sizes]
    assert found[0].unread == found[1].unread == 0 < found[4].unread
    assert all((one.tokens == 30) == (one.ended == "length") for one in found)
    assert {one.ended for one in found} <= {"length", "end"}


@pytest.mark.parametrize("kind", SIGNALS)
def test_special_tokens_are_not_written(kind):
    for one in made(kind, ["The ship"] * 10, temperature=3.0):
        assert "<|" not in one.written


@pytest.mark.parametrize("kind", SIGNALS)
def test_pieces_joined_are_what_was_written(kind):
    texts, writing = PROMPTS[:4], Writing(tokens=40, temperature=2.0)
    joined, last = {}, {}
    for piece in write_on(part(kind), SIGNALS[kind], texts, writing, ["e"]):
        joined[piece.prompt] = joined.get(piece.prompt, "") + piece.text
        assert piece.prompt not in last
        last |= {piece.prompt: piece.last} if piece.last else {}
    assert {number: one.written for number, one in last.items()} == joined
    assert sorted(last) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", SIGNALS)
def test_a_stop_string_ends_what_is_written_before_it(kind):
    free = made(kind, ["The ship"], tokens=60)[0]
    letters = [letter for letter in free.written if letter.isalpha() and letter.isascii()]
    stop = free.written[free.written.index(letters[3]) :][:2]
    cut = made(kind, ["The ship"], [stop, "never there"], tokens=60)[0]
    assert cut.ended == "stop" and cut.written == free.written[: free.written.index(stop)]


class Letters:
    """A signal whose tokens are letters."""

    def decode(self, ids) -> str:
        return "".join(map(chr, ids))


@given(text=st.text(st.sampled_from("abc"), max_size=30), stops=st.lists(st.text(st.sampled_from("abc"), max_size=4)))
def test_nothing_of_a_stop_string_is_ever_handed_out(text, stops):
    tail, out = Tail(Letters(), stops), ""
    for letter in text:
        out += tail.add(ord(letter))
        if tail.stopped:
            break
    out += tail.finish()
    ends = [place + len(stop) for stop in stops if stop and (place := text.find(stop)) >= 0]
    first = text[: min(ends)] if ends else text  # what had been written when the first stop string was complete
    places = [first.find(stop) for stop in stops if stop and stop in first]
    assert out == (first[: min(places)] if places else text)


def test_a_long_stop_string_costs_no_more_than_the_text():
    tail = Tail(Letters(), ["b" * 1_000_000])
    began = time.process_time()
    written = "".join(tail.add(ord("a")) for _ in range(300))
    assert written == "a" * 300 and time.process_time() - began < 5


@given(st.text(max_size=30))
def test_letters_of_several_bytes_come_whole(text):
    text = text.encode("utf-8", "replace").decode()
    signal = SIGNALS["bytes"]
    tail, pieces = Tail(signal, []), []
    for token in signal.encode([text])[0].ids.tolist():
        pieces.append(tail.add(token))
    assert "".join(pieces) + tail.finish() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


def test_half_a_letter_at_the_end_is_told_as_broken():
    tail = Tail(SIGNALS["bytes"], [])
    assert [tail.add(token) for token in (4 + 0xE2, 4 + 0x98)] == ["", ""] and tail.finish() == "\ufffd"


# ------------------------------------------------------------------ choices

OPTIONS = ["good", "bad", "good enough", "so-so"]


@pytest.mark.parametrize("kind", SIGNALS)
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_what_is_written_is_one_of_the_choices(kind, temperature):
    found = made(kind, PROMPTS * 4, choices=OPTIONS, temperature=temperature)
    assert {one.written for one in found} <= set(OPTIONS) and {one.ended for one in found} == {"choice"}
    assert temperature == 0 or len({one.written for one in found}) > 1


def test_a_choice_that_begins_another_may_end():
    choices = Choices([(5, 6), (5, 6, 7), (8,)], end_id=0)
    assert choices([]) == {5, 8} and choices([5]) == {6} and choices([5, 6]) == {0, 7} and choices([8]) == {0}
    assert [choices.done(one) for one in ([5], [5, 6], [5, 6, 7], [8])] == [False, False, True, True]


# ------------------------------------------------------------------ options


def test_options_become_a_way_of_writing():
    writing, stops, choices = asked({"tokens": 5, "top_k": 3, "seed": 2, "stop": ("a",), "temperature": None})
    assert (writing, stops, choices) == (Writing(tokens=5, top_k=3, seed=2), ["a"], [])
    assert asked({"choice": ["a", "b"]})[0].temperature == 0
    assert asked({"choice": ["a", "b"], "temperature": 0.5})[0].temperature == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tokens": 0}, "--tokens 0: must be 1 or more. "),
        ({"temperature": -1.0}, "--temperature -1.0: must be 0 or more; 0 always writes the likeliest. "),
        ({"top_k": -1}, "--top-k -1: must be 0 (all tokens) or more. "),
        ({"top_p": 0.0}, "--top-p 0.0: must be above 0 and at most 1. "),
        ({"min_p": 1.5}, "--min-p 1.5: must be between 0 and 1. "),
        ({"repetition": 0.0}, "--repetition 0.0: must be between 0.01 and 100; 1 changes nothing. "),
        ({"repetition": 1e-46}, "--repetition 1e-46: must be between 0.01 and 100; 1 changes nothing. "),
    ],
)
def test_options_that_cannot_be_are_refused(given, message):
    with pytest.raises(InputError) as raised:
        asked(given)
    assert str(raised.value) == message + "Leave it out for the usual value."


def test_an_empty_choice_is_refused():
    with pytest.raises(InputError) as raised:
        made("bpe", ["a"], choices=["a", ""])
    assert str(raised.value) == ("--choice: is empty. Give a text, for instance --choice positive --choice negative.")


# ------------------------------------------------------------------ a trained run


@cache
def run() -> Path:
    place = Path(mkdtemp(prefix="firth-test-"))
    corpus = material.write_corpus(place, 200)
    pretrain([corpus], objective="next-token", size="2x32", budget="30steps", out=place / "gpt", settings=runs.QUICK)
    return place / "gpt"


def test_a_run_writes_on_and_the_same_again():
    texts = ["The ship", "", "The old captain meets"]
    one, two = (list(predict(run(), texts, tokens=8, seed=3)) for _ in range(2))
    assert one == two and [item.text for item in one] == texts and all(item.tokens <= 8 for item in one)
    assert one[1:2] != list(predict(run(), [texts[1]], tokens=8, seed=4))
    assert next(load(run()).predict("The ship", tokens=8, seed=3)) == one[0]


def test_greedy_text_equals_that_of_transformers():
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(run() / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(run() / "model")
    for text in ["The ship", "The old captain", "A"]:
        given = tokenizer(text, return_tensors="pt")
        made = model.generate(**given, max_new_tokens=12, do_sample=False)[0, given["input_ids"].shape[1] :]
        (ours,) = predict(run(), [text], tokens=12, temperature=0.0)
        assert tokenizer.decode(made, skip_special_tokens=True) == ours.written


def test_the_command_line_writes_json_lines_when_piped():
    done = CliRunner().invoke(
        app, ["predict", str(run()), "The ship", "The cow", "--tokens", "4", "--temperature", "0"]
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and [one["text"] for one in lines] == ["The ship", "The cow"]
    assert set(lines[0]) == {"text", "written", "tokens", "ended", "unread"} and lines[0]["tokens"] <= 4


def test_the_terminal_shows_pieces_as_they_come(tmp_path):
    path = tmp_path / "out.txt"
    with open(path, "w+", encoding="utf-8") as out:
        show = Terminal(file=out, live=True)
        show.predictions(answers_to(Query(run(), ["The ship", "word " * 60], seed=1), True, tokens=6))
    shown = path.read_text()
    (whole,) = predict(run(), ["The ship"], tokens=6, seed=1)
    assert shown.startswith(f"The ship{whole.written}\n")
    assert "tokens were beyond the context, and not read" in shown.splitlines()[-1]


def test_choices_and_stops_on_the_command_line():
    base = ["predict", str(run()), "The ship is"]
    one = CliRunner().invoke(app, [*base, "--choice", "good", "--choice", "bad"])
    assert json.loads(one.stdout)["written"] in ("good", "bad")
    two = CliRunner().invoke(app, [*base, "--stop", " ", "--stop", "e"])
    assert two.exit_code == 0 and " " not in json.loads(two.stdout)["written"]


def test_options_on_writing_are_refused_by_what_does_not_write():
    with pytest.raises(InputError) as raised:
        predict(runs.folder() / "pretrained", ["The [MASK]"], top_k=3)
    assert str(raised.value) == (
        "--top-k: is for a model that writes on; this one answers with masked tokens. Leave it out."
    )
    assert list(predict(runs.folder() / "pretrained", ["The [MASK]"], seed=3))


def test_a_number_of_guesses_is_refused_by_what_writes():
    with pytest.raises(InputError) as raised:
        predict(run(), ["The ship"], top=3)
    assert str(raised.value) == (
        "--top 3: is how many guesses are named; this model writes on, and what it writes is one. Leave it out."
    )


def test_five_guesses_are_named_where_nobody_says_how_many():
    blank = ["predict", str(runs.folder() / "pretrained"), "The [MASK] meets the storm."]
    for more, count in (([], 5), (["--top", "2"], 2)):
        (guesses,) = json.loads(CliRunner().invoke(app, [*blank, *more]).stdout)["guesses"]
        assert len(guesses) == count


CANNOT = [
    ({"temperature": -1.0}, "--temperature -1.0: must be 0 or more; 0 always writes the likeliest. "
     "Leave it out for the usual value."),
    ({"choice": ("good", "")}, "--choice: is empty. Give a text, for instance --choice positive --choice negative."),
]  # fmt: skip


@pytest.mark.parametrize(("given", "message"), CANNOT, ids=["number", "choice"])
@pytest.mark.parametrize("way", ["skip_bad", "dry_run"])
def test_an_option_that_cannot_be_is_no_fault_of_the_rows(given, message, way):
    with pytest.raises(InputError) as raised:
        predict(run(), ["The ship", "The cow"], **given, **{way: True})  # before the first row is asked for
    assert str(raised.value) == message


def test_with_skip_bad_too_a_bad_option_ends_the_command():
    done = CliRunner().invoke(app, ["predict", str(run()), "The ship", "--top-p", "2", "--skip-bad"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "--top-p 2.0: must be above 0 and at most 1.\nLeave it out for the usual value.\n"


def test_samples_along_the_way_are_continuations():
    lines = (run() / "samples" / "step-30.txt").read_text().splitlines()
    assert 1 < len(lines) <= 5 and all(line.count(" · ") == 2 and " · truth: " in line for line in lines)
    opening = next_token.Opening("the ship", "meets the storm")
    shown = next_token.shown(load(run()).objective, load(run()).signal, [opening])
    assert shown[0].startswith("the ship · ") and shown[0].endswith(" · truth: meets the storm")
