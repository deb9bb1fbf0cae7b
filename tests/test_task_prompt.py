"""Prompts: templates, the drawing of shots, what does not fit, and what a scorer's likelihoods are made into."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import InputError
from firth.find import find
from firth.functional.choices import Likelihood
from firth.recipe import Recipe, apply_settings, config_of
from firth.task import Example, Where
from firth.train.adapt import request
from tests.readers import guessing

task = find("tasks", "prompt")
REVIEW = "Review: {text}\nSentiment: {label}"
CLASSES = ("negative", "positive")


def config(**settings):
    return task.Config(**{"template": REVIEW, "classes": CLASSES} | settings)


def example(text: str, label: str = "positive", line: int = 0, **fields) -> Example:
    return Example(text, label, Where("r.tsv", line), {"text": text, "label": label} | fields)


ROWS = [example(f"film {n}", CLASSES[n % 2], n + 2) for n in range(40)]


def said(make, *given, **options) -> str:
    with pytest.raises(InputError) as caught:
        make(*given, **options)
    assert caught.value.exit_code == 2
    return str(caught.value)


# ------------------------------------------------------------------ templates


def test_a_template_is_what_comes_before_the_answer_and_after_it():
    form = task.parse("Q: {question}\nA: {label}.")
    one = Example("x", "yes", Where("a"), {"question": " Is it? "})
    assert form.fields == ["question"]
    assert form.asked(one) == "Q: Is it?\nA: "
    assert form.shown(one, "yes") == "Q: Is it?\nA: yes."


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{label}", "good"),
        ("{{{text}}} → {label}", "{a {b} film} → good"),
        ("{text} {text}: {label} ({stars})", "a {b} film a {b} film: good (4)"),
        ("{empty}|{label}", "|good"),
    ],
)
def test_fields_are_put_in_as_they_are(template, shown):
    one = example("a {b} film", stars=4, empty=None)
    assert task.parse(template).shown(one, "good") == shown


def test_text_is_there_whatever_its_column_is_called():
    one = Example("a film", "good", Where("r.tsv", 2), {"review": "a film", "sentiment": "good"})
    assert task.parse(REVIEW).asked(one) == "Review: a film\nSentiment: "
    plain = Example("a film", "good", Where("good/1.txt"))
    assert task.parse(REVIEW).asked(plain) == "Review: a film\nSentiment: "


@pytest.mark.parametrize(
    ("template", "what", "do"),
    [
        ("Review: {text}", "has no field {label}", "Put {label} where the answer belongs"),
        ("{label} {label}", "has more than one field {label}", "Put {label} where the answer belongs"),
        ("{text:>9} {label}", "has a field that is no plain name", "Write fields like {text}."),
        ("{text!r} {label}", "has a field that is no plain name", "Write fields like {text}."),
        ("{} {label}", "has a field that is no plain name", "Write fields like {text}."),
        ("{text {label}", "cannot be read", "Close each { with a }"),
        ("text} {label}", "cannot be read", "Close each { with a }"),
    ],
)
def test_a_template_that_is_none_is_told(template, what, do):
    message = said(task.parse, template)
    assert message.startswith("prompt.template: `") and what in message and do in message


def test_a_field_that_is_no_column_is_told_with_the_nearest():
    assert said(task.parse("{txt} {label}").asked, ROWS[0]) == (
        "r.tsv:2: has no column `txt`. Did you mean `text`? Fields can be {text}, {label}."
    )
    assert said(config(template="{titel} {label}").look, [example("a", title="b")]) == (
        "r.tsv: has no column `titel`. Did you mean `title`? Fields can be {text}, {label}, {title}."
    )
    assert config().look([]) == config() and config().look(ROWS) == config()


def test_a_line_end_may_be_typed():
    recipe = apply_settings(Recipe(), [r"prompt.template=Text: {text}\nLabel: {label}", r"prompt.separator=\n"])
    found = config_of(recipe, "tasks", "prompt")
    assert (found.template, found.separator) == ("Text: {text}\nLabel: {label}", "\n")


# ------------------------------------------------------------------ prompts and options


def test_a_prompt_is_its_shots_and_the_question():
    form = task.parse(REVIEW)
    found = task.prompt(config(words={"negative": "bad"}), form, ROWS[:2], example("odd one"))
    assert (
        found == "Review: film 0\nSentiment: bad\n\nReview: film 1\nSentiment: positive\n\nReview: odd one\nSentiment:"
    )
    assert task.options(config(words={"negative": "bad"}), form) == [" bad", " positive"]


@pytest.mark.parametrize(
    ("template", "prompt", "options"),
    [
        ("{text}: {label}", "a:", [" negative", " positive"]),
        ("{text}\n{label}", "a\n", ["negative", "positive"]),
        ("{text}({label})", "a(", ["negative", "positive"]),
        ("{text}{label}", "a", ["negative", "positive"]),
    ],
)
def test_blanks_before_the_answer_belong_to_it(template, prompt, options):
    form = task.parse(template)
    assert task.prompt(config(), form, [], example("a")) == prompt
    assert task.options(config(), form) == options


def test_words_must_tell_the_classes_apart():
    form = task.parse(REVIEW)
    assert said(task.options, config(words={"postive": "good"}), form) == (
        "prompt.words: `postive` is no class. Did you mean `positive`? There is: `negative`, `positive`."
    )
    assert said(task.options, config(words={"negative": "positive"}), form) == (
        "prompt.words: two classes are written `positive`. Give each class a word of its own."
    )


# ------------------------------------------------------------------ drawing


@given(st.integers(0, 20), st.integers(0, 2**40), st.integers(0, 9))
def test_shots_are_balanced_distinct_and_theirs_alone(shots, seed, number):
    found = task.drawn(ROWS, config(shots=shots), seed, number)
    counts = Counter(one.label for one in found)
    assert len(found) == shots == len({one.text for one in found})
    assert max(counts.values(), default=0) - min((counts[name] for name in CLASSES), default=0) <= 1
    assert found == task.drawn(ROWS[::-1], config(shots=shots), seed, number)


def test_draws_differ_in_examples_order_and_who_gets_one_more():
    found = [task.drawn(ROWS, config(shots=5), 0, number) for number in range(40)]
    assert len({tuple(one.text for one in each) for each in found}) == 40
    more = Counter(Counter(one.label for one in each).most_common(1)[0][0] for each in found)
    assert all(8 < more[name] < 32 for name in CLASSES)
    last = Counter(each[-1].label for each in found)
    assert all(8 < last[name] < 32 for name in CLASSES)
    assert task.drawn(ROWS, config(shots=5), 1) != found[0]


def test_as_found_draws_without_regard_to_classes():
    rows = [example(f"film {n}", "positive" if n % 10 else "negative") for n in range(100)]
    found = [one.label for n in range(20) for one in task.drawn(rows, config(shots=10, balanced=False), 0, n)]
    assert 0.03 < found.count("negative") / len(found) < 0.2


def test_too_few_examples_are_told():
    few = [example(f"film {n}", "positive" if n else "negative") for n in range(9)]
    assert said(task.drawn, few, config(shots=4), 0) == (
        "prompt.shots = 4: there are 1 labelled examples of `negative`, and 2 are wanted. "
        "Use fewer shots, label more, or --set prompt.balanced=false."
    )
    assert said(task.drawn, few, config(shots=10, balanced=False), 0) == (
        "prompt.shots = 10: there are 9 labelled examples, and 10 are wanted. Use fewer shots, label more."
    )
    assert task.drawn([], config(shots=0), 0) == []


def test_what_does_not_fit_is_refused_and_never_cut():
    room = task.Room(len, 120)
    shots = task.drawn(ROWS, config(), 0) or ROWS[:2]
    task.said(guessing, config(), shots, [example("short")], room)
    message = said(task.said, guessing, config(), shots, [example("short"), example("long " * 20, line=7)], room)
    size = len(task.prompt(config(), task.parse(REVIEW), shots, example("long " * 20))) + len(" positive")
    assert message == (
        f"r.tsv:7: its prompt of 2 shots has {size} tokens, the context of the model 120. "
        "Use fewer shots, shorter examples, or a model with a longer context."
    )
    nowhere = said(task.written, lambda prompts: prompts, config(), ROWS[:4], [Example("typed in", None, None)], room)
    assert nowhere.startswith("`typed in`: its prompt of 4 shots has ")


# ------------------------------------------------------------------ answers


def fixed(table):
    """A scorer that looks at the text of the last example and the option."""

    def score(prompts, options):
        texts = [prompt.rpartition("Review: ")[2].partition("\n")[0] for prompt in prompts]
        return [[Likelihood(table[text][i], len(one.split()) + i) for i, one in enumerate(some)]
                for text, some in zip(texts, options, strict=True)]  # fmt: skip

    return score


TABLE = {"": [-1.0, -3.0], "dull": [-2.0, -5.0], "fine": [-4.0, -4.5], "even": [-2.0, -2.0]}


@pytest.mark.parametrize(
    ("normalise", "labels"),
    [
        ("raw", ["negative", "negative", ""]),
        ("per-token", ["negative", "positive", "positive"]),  # the second option has two tokens
        ("per-byte", ["negative", "negative", ""]),  # both words have nine bytes with their blank
        ("calibrated", ["negative", "positive", "positive"]),
    ],
)
def test_predictions_by_hand(normalise, labels):
    inputs = [example(text) for text in ("dull", "fine", "even")]
    found = task.predict(fixed(TABLE), config(normalise=normalise), [], inputs)
    assert [one.label for one in found] == labels
    assert [one.text for one in found] == ["dull", "fine", "even"]
    for one in found:
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.probability == max(one.probabilities.values()) == next(iter(one.probabilities.values()))
        assert one.label in ("", next(iter(one.probabilities)))
    if normalise == "raw":
        shares = np.exp([-2.0, -5.0])
        assert found[0].probability == pytest.approx(shares[0] / shares.sum())


def test_top_names_the_likeliest_classes():
    (found,) = task.predict(fixed(TABLE), config(), [], [example("dull")], top=1)
    assert list(found.probabilities) == ["negative"]


def test_calibration_sees_the_same_shots_and_nothing_else():
    asked = []

    def score(prompts, options):
        asked.extend(prompts)
        return guessing(prompts, options)

    task.said(score, config(), ROWS[:2], [example("a"), example("b")])
    shown = task.prompt(config(), task.parse(REVIEW), ROWS[:2], example("a")).rpartition("Review:")[0]
    assert asked == [shown + f"Review: {text}\nSentiment:" for text in ("a", "b", "")]


def test_calibration_takes_out_a_leaning():
    leaning = {"": [-0.5, -3.5], "dull": [-0.4, -4.0], "fine": [-0.6, -3.0]}
    inputs = [example("dull"), example("fine")]
    raw, mended = (task.predict(fixed(leaning), config(normalise=way), [], inputs) for way in ("raw", "calibrated"))
    assert [one.label for one in raw] == ["negative", "negative"]
    assert [one.label for one in mended] == ["negative", "positive"]


def test_writing_keeps_the_first_line():
    found = task.written(lambda prompts: [" positive \nReview: more", "", "\n"], config(), [], ROWS[:3])
    assert found == ["positive", "", ""]
    assert task.judged(["positive", "a b"], ["positive ", "a  b"]) == {"items": 2, "accuracy": 0.5}
    assert task.judged([], []) == {"items": 0, "accuracy": 0.0}


# ------------------------------------------------------------------ no learning


def test_nothing_is_learnt_for_it():
    assert not task.Config.learns
    assert said(request, "runs/x", ["labels.tsv"], None, None, task="prompt", start="pretrained", labels=None, seed=0,
                device=None) == (
        "--task prompt: learns nothing: its examples stand in the prompt. Label with it: firth predict MODEL INPUT "
        "--task prompt; adapt to one of classify, pairs, span, tag, transcribe, verify."
    )  # fmt: skip
