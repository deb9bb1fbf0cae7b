"""Spans and their F1 equal seqeval's default mode."""

import random
import warnings

import pytest

from firth.functional.spans import Span, is_bio, span_f1, spans

TYPES = ["PER", "LOC", "ORG-X", "_"]


def drawn(source, prefixes, length):
    """Tags as a bad tagger writes them: any tag may follow any other."""
    tags = []
    for _ in range(length):
        prefix = source.choice(prefixes)
        again = tags and source.random() < 0.5 and "-" in tags[-1]
        kind = tags[-1].split("-", 1)[1] if again else source.choice(TYPES)
        tags.append("O" if prefix == "O" else prefix if source.random() < 0.05 else f"{prefix}-{kind}")
    return tags


def cases(count, prefixes, seed):
    """(gold, predicted) tags of a few sentences; the prediction is partly right."""
    source = random.Random(seed)
    for _ in range(count):
        gold = [drawn(source, prefixes, source.randint(1, 12)) for _ in range(source.randint(1, 5))]
        sure = source.random()
        yield gold, [[tag if source.random() < sure else drawn(source, prefixes, 1)[0] for tag in one] for one in gold]


@pytest.mark.parametrize("prefixes", ["BIO", "BIIOO", "BIESO"])
def test_a_thousand_cases_equal_seqeval(prefixes):
    reference = pytest.importorskip("seqeval.metrics")
    for gold, predicted in cases(1000, prefixes, 0):
        ours = span_f1(gold, predicted)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            micro = reference.sequence_labeling.precision_recall_fscore_support(gold, predicted, average="micro")
            each = reference.sequence_labeling.precision_recall_fscore_support(gold, predicted, average=None)
        assert [ours[name] for name in ("precision", "recall", "f1", "support")] == pytest.approx(micro)
        kinds = sorted({kind for kind, *_ in reference.sequence_labeling.get_entities(gold)}
                       | {kind for kind, *_ in reference.sequence_labeling.get_entities(predicted)})  # fmt: skip
        assert list(ours["types"]) == kinds
        for number, name in enumerate(("precision", "recall", "f1", "support")):
            assert [ours["types"][kind][name] for kind in kinds] == pytest.approx(list(each[number]))


@pytest.mark.parametrize("prefixes", ["BIO", "BIESO"])
def test_a_thousand_sentences_have_the_spans_of_seqeval(prefixes):
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    for (tags, *_), _ in cases(1000, prefixes, 1):
        assert [(kind, start, stop - 1) for kind, start, stop in spans(tags)] == reference.get_entities(tags)


def test_spans():
    assert spans(["O", "B-PER", "I-PER", "O", "B-LOC"]) == [Span("PER", 1, 3), Span("LOC", 4, 5)]
    assert spans(["B-PER", "B-PER"]) == [Span("PER", 0, 1), Span("PER", 1, 2)]
    assert spans([]) == spans(["O", "O"]) == []


def test_lenient_reading():
    assert spans(["I-PER", "I-PER"]) == [Span("PER", 0, 2)]
    assert spans(["B-PER", "I-LOC"]) == [Span("PER", 0, 1), Span("LOC", 1, 2)]
    assert spans(["B", "I", "O"]) == [Span("_", 0, 2)]
    assert spans(["S-PER", "I-PER"]) == [Span("PER", 0, 1), Span("PER", 1, 2)]
    assert spans(["B-PER", "NOUN", "I-PER"]) == [Span("PER", 0, 1), Span("PER", 2, 3)]


def test_what_looks_like_bio():
    assert is_bio(["O", "B-PER", "I-PER"]) and is_bio(["B", "O", "I"]) and is_bio(["S-a-b"])
    assert not is_bio([]) and not is_bio(["O", "O"])
    assert not is_bio(["NOUN", "B-PER"]) and not is_bio(["INTJ", "O"]) and not is_bio(["B_PER"])


def test_figures():
    found = span_f1([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "B-LOC", "O"]])
    assert (found["precision"], found["recall"], found["f1"], found["support"]) == (0.5, 0.5, 0.5, 2)
    assert found["types"]["PER"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert found["types"]["LOC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}


def test_no_spans_give_zero():
    assert span_f1([["O"]], [["O"]]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "types": {}}


def test_unequal_numbers_are_refused():
    with pytest.raises(ValueError, match="2 gold tags and 1 predicted ones in a sentence"):
        span_f1([["O", "O"]], [["O"]])
    with pytest.raises(ValueError):
        span_f1([["O"]], [])
