"""Span: two vectors and nothing else; places in tokens and in characters; windows; SQuAD's figures; refusals."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from firth.data.labelled import open_labelled
from firth.errors import InputError
from firth.evaluate.predict import load
from firth.find import find
from firth.recipe import Data
from firth.signals.text import Text
from firth.task import Example, Where
from tests import contract, labelled_files, runs

span = find("tasks", "span")
TEXT = "The ship carries the barn. The captain carries the fence."


@pytest.fixture(scope="module")
def signal():
    return Text.open(runs.folder() / "pretrained" / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("span")
    labelled_files.write_questions(place)
    labelled_files.write_questions(place, 20, seed=3, name="test.json")
    settings = [f"data.test={place / 'test.json'}", "text.context=64"]
    runs.quick_adapt(place / "run", settings, place / "questions.json", task="span")
    return place


def example(question="What?", context=TEXT, answers=(("barn", 21),)) -> Example:
    found = [{"text": text, "start": start} for text, start in answers]
    fields = {"question": question, "context": context, "answers": found}
    return Example("", None, Where("x.json", 1, 7), fields)


def ready(**options) -> Example:
    return span.Config().example(example(**options))


# ------------------------------------------------------------------ the whole way


def test_an_adapted_run_answers_from_the_document(folder):
    score = json.loads((folder / "run" / "run.json").read_text())["result"]["score"]
    assert score["items"] == 20 and 0 <= score["exact_match"] <= score["f1"] <= 1
    loaded = load(folder / "run")
    [said] = loaded.predict([("What does the ship carry?", TEXT)])
    assert said.answer == TEXT[said.begin : said.end] and said.answer
    assert sum(one.probability for one in said.best) <= 1 + 1e-6 and len(said.best) == 3
    [again] = loaded.predict([f"What does the ship carry?\t{TEXT}"])
    assert again.answer == said.answer


def test_the_task_adds_exactly_two_vectors():
    objective = contract.build(["span"])
    width = objective.backbone.shape.width
    assert sum(p.numel() for p in objective.parts["span"].parameters()) == 2 * width


# ------------------------------------------------------------------ the loss


def test_the_loss_is_minus_log_p_of_start_and_end_over_the_document():
    objective = contract.build(["span"])
    batch = contract.batch_of(objective, contract.samples(5))
    part = objective.parts["span"]
    values, nats = part.encode(batch).values, 0.0
    for b in range(5):
        places = [t for t in range(values.shape[1]) if t == 0 or not batch["special"][b, t]]
        for row, name in enumerate(("start", "end")):
            scores = torch.stack([values[b, t] @ part.ends.weight[row] for t in places])
            nats -= torch.log_softmax(scores, 0)[places.index(batch[name][b].item())].item()
    assert objective(batch).terms["span"].sum.item() == pytest.approx(nats, rel=1e-9)
    assert batch.counts["span"] == 5


def test_of_two_segments_only_the_second_can_answer(signal):
    config = span.Config()
    batch = signal.stack(config.samples([ready(question="Which ship?")], signal))
    inside = span.allowed(batch)[0]
    first = batch["tokens"][0].tolist().index(signal.sep_id)
    assert inside[0] and not inside[1 : first + 1].any() and inside[first + 1 : -1].all() and not inside[-1]


# ------------------------------------------------------------------ places


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_token_places_lead_back_to_the_answer(signal, data):
    words = data.draw(st.lists(st.sampled_from(["ship", "Über", "the", "unheardof", "a,b", "🙂", "née"]), min_size=3,
                               max_size=60))  # fmt: skip
    context = " ".join(words)
    begin = data.draw(st.integers(0, len(words) - 1))
    stop = data.draw(st.integers(begin + 1, min(len(words), begin + 5)))
    start = len(" ".join(words[:begin])) + bool(begin)
    text = " ".join(words[begin:stop])
    one = ready(context=context, answers=[(text, start)])
    pieces = signal.encode_offsets([context])[0]
    first, last = span.place(one, pieces)
    assert context[pieces.begin[first] : pieces.end[last]] == text
    for window in span.cut(span.Config(stride=8), signal, [one])[0]:
        a, b = window.sample.targets["start"], window.sample.targets["end"]
        if a:
            assert context[window.begin[a - window.shift] : window.end[b - window.shift]] == text


def test_windows_cover_the_document_and_overlap(signal):
    one = ready(context="The ship carries the barn. " * 40)
    total = len(signal.encode_offsets([one.parts[1]])[0].ids)
    found = span.cut(span.Config(stride=8), signal, [one])[0]
    assert len(found) > 2 and all(len(w.sample.parts[0]) + len(w.begin) + 3 <= signal.config.context for w in found)
    covered = {int(place) for window in found for place in window.begin}
    assert len(covered) == total
    assert len({window.sample.key for window in found}) == len(found)
    answered = [w for w in found if w.sample.targets["start"]]
    others = [w for w in found if not w.sample.targets["start"]]
    assert answered and all(w.sample.targets["end"] == 0 for w in others)


def test_answers_of_two_windows_are_compared_over_their_no_answer():
    config = span.Config(best=2, longest=3)
    window = span.Window(None, 2, np.array([0, 4, 9]), np.array([3, 8, 13]))
    low = span.offered(config, "The ship sails", window, np.array([9.0, 0, 5, 1, 1]), np.array([9.0, 0, 1, 5, 1]))
    high = span.offered(config, "The ship sails", window, np.array([0.0, 0, 2, 1, 1]), np.array([0.0, 0, 1, 2, 1]))
    assert (low[0].text, low[0].score, high[0].text, high[0].score) == ("The ship", -8.0, "The ship", 4.0)
    assert span.ranked(config, low + high)[0].score == 4.0


def test_an_answer_begins_at_its_word_where_pieces_hold_the_blank_before_it():
    """As those of byte-level tokenizers do."""
    window = span.Window(None, 2, np.array([0, 3, 8]), np.array([3, 8, 14]))
    scores = np.array([0.0, 0, 1, 9, 1]), np.array([0.0, 0, 1, 1, 9])
    (best, *_) = span.ranked(span.Config(), span.offered(span.Config(), "The ship sails", window, *scores))
    assert (best.text, best.begin, best.end) == ("ship sails", 4, 14)


def test_no_answer_is_said_only_where_it_may_be():
    found = [span.Candidate("x", 0, 1, -2.0), span.Candidate("y", 2, 3, -3.0)]
    assert span.ranked(span.Config(unanswerable=False), found)[0].text == "x"
    ranked = span.ranked(span.Config(unanswerable=True), found)
    assert ranked[0].text == "" and sum(one.probability for one in ranked) == pytest.approx(1)


def test_longest_bounds_an_answer():
    window = span.Window(None, 1, np.arange(0, 40, 4), np.arange(3, 43, 4))
    scores = np.array([0.0, 9, *[0] * 8, 0]), np.array([0.0, *[0] * 9, 9])
    found = span.offered(span.Config(longest=4), "x" * 50, window, *scores)
    assert max(one.end - one.begin for one in found) <= 4 * 4 - 1


# ------------------------------------------------------------------ files


def test_questions_on_one_paragraph_never_fall_on_both_sides(tmp_path, signal):
    rows = [{"question": f"What {i}?", "context": f"The ship {i // 3} carries it.", "answers": [{"text": "ship",
             "start": 4}]} for i in range(60)]  # fmt: skip
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = open_labelled(Data(paths=(str(path),)), signal, 0, task=span.Config())
    sides = [{record.group for record in found.records[part]} for part in ("train", "valid")]
    assert not sides[0] & sides[1] and all(sides)
    assert found.task.unanswerable is False and found.classes == ()


def test_the_columns_of_datasets_are_understood():
    one = Example("", None, Where("x"), {"answers": {"text": ["barn"], "answer_start": [21]}})
    assert span.answers_of(one) == [("barn", 21)]


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


def test_refusals_say_where_what_and_what_to_do():
    assert refusal(lambda: ready(answers=[("barn", 20)])) == (
        "x.json:1:7: the answer `barn` is not at character 20 of the document. "
        "It is at 21; offsets count characters from 0."
    )
    assert refusal(lambda: ready(answers=[("boat", 3)])) == (
        "x.json:1:7: the answer `boat` is not in the document. Copy it from the document as it stands there."
    )
    assert refusal(lambda: ready(question=" ")) == (
        "x.json:1:7: `question` is empty. Fill it in, or leave out the row; --skip-bad leaves out such rows."
    )
    assert refusal(lambda: span.Config().look([Example("", None, Where("x.jsonl", 2), {"text": "a"})])) == (
        "x.jsonl: has no `context`. Give SQuAD's JSON, or rows with question, context and answers (text, start)."
    )
    assert refusal(lambda: span.question_of("no tab", 2)) == (
        "input 2: a question and a document are needed. Write the question, a tab, the document."
    )
