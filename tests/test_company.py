"""The company a word keeps: occurrences found and drawn, groups against chance, typical words, layers; refusals."""

import json
import re

import numpy as np
import pytest
from scipy.stats import fisher_exact
from sklearn.metrics import adjusted_rand_score, silhouette_score

from firth.errors import InputError
from firth.evaluate import grouping
from firth.evaluate.company import company, layers_of
from firth.evaluate.encoder import Span
from firth.evaluate.occurrences import Least, clipped, find_word, occurrences, trained_on
from firth.evaluate.typical import compare, false_discovery, neighbours, typical_words
from firth.recipe import Data
from tests import runs

MODEL = "pretrained"


def write(tmp_path, lines, name="text.txt"):
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def found(tmp_path, lines, word="ship", count=50, seed=0, lowercase=True):
    return find_word(word, Data(paths=(write(tmp_path, lines),)), count, seed, lowercase)


@pytest.fixture(scope="module")
def result():
    return company(runs.folder() / MODEL, "ship", runs.folder() / "corpus.txt", count=60)


# ------------------------------------------------------------------ occurrences


@pytest.mark.usefixtures("rare")
def test_whole_words_are_found_in_their_sentences(tmp_path):
    lines = [f"Number {i} sails. The Ship meets a ship, no shipping. The end {i}." for i in range(12)]
    one = found(tmp_path, lines)
    assert one.seen == 24 and len(one.used) == 2  # the sentence is the same in all lines
    assert {seen.span.text for seen in one.used} == {"The Ship meets a ship, no shipping."}
    assert {seen.span.word for seen in one.used} == {"Ship", "ship"}


@pytest.fixture
def rare(monkeypatch):
    monkeypatch.setattr("firth.evaluate.occurrences.FEWEST", 1)


@pytest.mark.usefixtures("rare")
@pytest.mark.parametrize(
    ("word", "lowercase", "seen"), [("ship", True, 3), ("Ship", True, 3), ("ship", False, 3), ("Ship", False, 1)]
)
def test_case_counts_where_the_tokenizer_keeps_it_and_the_word_has_some(tmp_path, word, lowercase, seen):
    lines = ["one ship went", "Ship two came", "SHIP three stayed"]
    assert found(tmp_path, lines, word, lowercase=lowercase).seen == seen


def test_the_draw_hangs_on_seed_and_content_not_on_order(tmp_path):
    lines = [f"The ship number {i} sails." for i in range(100)]
    one = [seen.span for seen in found(tmp_path, lines, count=20).used]
    assert len(one) == 20
    assert [seen.span for seen in found(tmp_path, lines[::-1], count=20).used] == one
    assert [seen.span for seen in found(tmp_path, lines, count=20, seed=1).used] != one


def test_places_and_other_words_are_kept(tmp_path):
    one = found(tmp_path, [f"The ship number {i} sails." for i in range(30)])
    assert all(re.fullmatch(r".*text\.txt(:\d+){0,2}", seen.where) for seen in one.used)
    assert len(one.others) == 30 and all(span.word and span.word in span.text for span in one.others)


def test_long_sentences_are_cut_between_words_around_the_word():
    text = "left " * 400 + "ship" + " right" * 400
    span = clipped(text, 2000, 2004, 0, len(text))
    assert span.word == "ship" and len(span.text) <= 600
    assert set(span.text.split()) == {"left", "ship", "right"}


def test_blanks_become_single_ones():
    (span,) = occurrences("It was. The  old \t ship   sails.", re.compile("ship"))
    assert span.text == "The old ship sails." and span.word == "ship"


def test_the_least_are_kept_once():
    source = np.random.default_rng(0).integers(0, 1000, 500).tolist()
    least = Least(20)
    for number in source:
        least.add(number, lambda number=number: number)
    assert least.sorted() == sorted(set(source))[:20]


# ------------------------------------------------------------------ groups


def blobs(*centres, each=40, width=8, seed=0):
    source = np.random.default_rng(seed)
    rows = [np.eye(width)[c] * 8 + source.normal(size=(each, width)) for c in centres]
    return np.concatenate(rows), np.repeat(range(len(centres)), each)


@pytest.mark.parametrize("method", ["k-means", "agglomerative"])
@pytest.mark.parametrize("centres", [(0, 1), (0, 1, 2), (0, 1, 2, 3)])
def test_groups_that_are_there_are_found(method, centres):
    vectors, truth = blobs(*centres)
    one = grouping.group(vectors, 0, method)
    assert adjusted_rand_score(truth, one.labels) > 0.95 and one.clear
    assert one.silhouette == pytest.approx(silhouette_score(grouping.axes(vectors, 8), one.labels))


def test_a_cloud_has_no_clear_groups():
    clear = [grouping.group(np.random.default_rng(n).normal(size=(60, 6)), n).clear for n in range(12)]
    assert sum(clear) <= 2


def test_groups_are_numbered_from_the_largest_and_can_be_asked_for():
    vectors = np.concatenate([blobs(0, each=10)[0], blobs(1, each=50)[0]])
    assert np.bincount(grouping.group(vectors, 0).labels).tolist() == [50, 10]
    assert len(set(grouping.group(vectors, 0, count=4).labels.tolist())) == 4
    assert set(grouping.group(vectors, 0, count=1).labels.tolist()) == {0}


def test_mean_cosine_is_the_mean_over_pairs():
    vectors = np.random.default_rng(0).normal(size=(7, 5))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    pairs = [unit[i] @ unit[j] for i in range(7) for j in range(i)]
    assert grouping.mean_cosine(vectors) == pytest.approx(np.mean(pairs))


def test_standardising_takes_out_what_all_words_share():
    source = np.random.default_rng(0)
    others = source.normal(size=(500, 6)) * [100, 1, 1, 1, 1, 1] + [0, 50, 0, 0, 0, 0]  # rogue dimensions
    assert grouping.mean_cosine(others) > 0.05
    assert abs(grouping.mean_cosine(grouping.standardised(others, others))) < 0.02


def test_axes_are_those_of_the_spread_with_fixed_signs():
    vectors = blobs(0, 1)[0]
    found_axes = grouping.axes(vectors, 3)
    assert found_axes.std(0)[0] >= found_axes.std(0)[1] >= found_axes.std(0)[2]
    np.testing.assert_allclose(grouping.axes(vectors, 3), found_axes)
    assert grouping.axes(vectors[:2], 5).shape == (2, 5)


def test_nearest_are_nearest():
    vectors = np.random.default_rng(0).normal(size=(20, 5))
    places, near = grouping.nearest(vectors, 3)
    unit = grouping.unit(vectors)
    for i in range(20):
        order = sorted(set(range(20)) - {i}, key=lambda j: -unit[i] @ unit[j])
        assert places[i].tolist() == order[:3] and near[i][0] == pytest.approx(unit[i] @ unit[order[0]])


# ------------------------------------------------------------------ typical words


def test_the_p_value_is_that_of_fishers_exact_test():
    source = np.random.default_rng(0)
    for _ in range(50):
        everything = int(source.integers(20, 200))
        size = int(source.integers(5, everything - 5))
        total = int(source.integers(3, everything))
        here = int(source.integers(max(0, total - everything + size), min(total, size) + 1))
        one = compare("x", here, total, size, everything)
        table = [[here, size - here], [total - here, everything - size - total + here]]
        assert one.p == pytest.approx(fisher_exact(table, "greater").pvalue)
        odds = np.log((table[0][0] + 0.5) * (table[1][1] + 0.5) / (table[0][1] + 0.5) / (table[1][0] + 0.5))
        assert one.log_odds == pytest.approx(odds)


def test_words_of_one_group_are_named_and_words_of_both_are_not():
    spans = [Span(f"the {'river' if i % 2 else 'money'} bank here", 10, 14) for i in range(40)]
    first, second = typical_words(spans, np.arange(40) % 2)
    assert [one.word for one in first] == ["money"] and [one.word for one in second] == ["river"]
    assert (first[0].here, first[0].elsewhere) == (20, 0) and first[0].log_odds > 3


def test_random_groups_have_no_typical_words():
    source = np.random.default_rng(0)
    words = [f"word{i}" for i in range(60)]
    named = 0
    for _ in range(20):
        spans = [Span(" ".join([*source.choice(words, 8), "bank"]), 0, 0) for _ in range(100)]
        named += sum(map(bool, map(len, typical_words(spans, source.integers(0, 2, 100)))))
    assert named <= 4


def test_false_discovery_of_the_textbook():
    """Benjamini & Hochberg 1995, section 3.2: of 15 values the first four hold."""
    values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, 0.4262, 0.5719, 0.6528,
              0.759, 1.0]  # fmt: skip
    assert false_discovery(np.array(values)) == 0.0095
    assert false_discovery(np.array([0.9, 0.8])) < 0


def test_neighbours_are_words_within_reach_once_each():
    text = "far " + "one two three four five six seven eight nine ten bank It's 1994 and 1994."
    span = Span(text, text.index("bank"), text.index("bank") + 4)
    assert "far" not in neighbours(span) and {"one", "ten", "it's", "0", "and"} <= neighbours(span)


# ------------------------------------------------------------------ whole


def test_the_result_is_complete(result):
    used = len(result.occurrences)
    assert used == 60 and result.seen > 60 and result.layer == 2 and len(result.layers) == 3
    assert sum(group.size for group in result.groups) == used
    for one in result.occurrences:
        assert one.sentence[one.start : one.end].lower() == "ship"
        assert len(one.points) == len(one.nearest) == 3 and 0 <= one.group < len(result.groups)
        assert all(0 <= i < used for layer in one.nearest for i in layer)
    for number, group in enumerate(result.groups):
        assert all(result.occurrences[i].group == number for i in group.examples)
    assert result.headline in result.lines()


def test_layers_tell_raw_cosines(result):
    first = result.layers[0]
    assert first.to_first == 1 and first.to_previous is None
    for layer in result.layers:
        assert layer.corrected == pytest.approx(layer.self_similarity - layer.anisotropy, abs=1e-3)
        assert 0 <= layer.agreement <= 1
    assert first.self_similarity > 0.99  # rotary positions: the embedding sees no sentence


def test_shifts_are_means_of_cosines():
    vectors = np.random.default_rng(0).normal(size=(3, 6, 4))
    near = [grouping.nearest(one, 2)[0] for one in vectors]
    layers = layers_of(vectors, vectors, near, np.zeros(6, int))
    unit = grouping.unit(vectors)
    assert layers[2].to_previous == pytest.approx(np.mean([unit[2][i] @ unit[1][i] for i in range(6)]), abs=1e-4)
    assert layers[2].to_first == pytest.approx(np.mean([unit[2][i] @ unit[0][i] for i in range(6)]), abs=1e-4)
    assert layers[0].agreement == 1 and layers[0].corrected == 0


def test_it_is_the_same_again_and_goes_into_a_file(result, tmp_path):
    again = company(runs.folder() / MODEL, "ship", runs.folder() / "corpus.txt", count=60)
    assert again.as_dict() == result.as_dict()
    kept = json.loads(result.save(tmp_path / "company.json").read_text("utf-8"))
    assert kept["word"] == "ship" and kept["headline"] == result.headline and len(kept["occurrences"]) == 60


def test_without_data_it_looks_into_what_the_run_was_trained_on(result):
    told = runs.Told()
    own = company(runs.folder() / MODEL, "ship", count=60, groups=2, method="agglomerative", layer=1, show=told)
    assert own.data == [str(runs.folder() / "corpus.txt")] and own.seen == result.seen
    assert (len(own.groups), own.layer, own.method) == (2, 1, "agglomerative")
    assert told.lines["Data"] == f"{own.seen:,} occurrences of `ship`; 60 are looked at"
    assert trained_on(runs.adapted()).paths == trained_on(runs.folder() / MODEL).paths


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("word", "options", "message"),
    [
        ("shipp", {}, "`shipp` in CORPUS: the word is not there. Did you mean `ship`? Choose a word that is, or give "
                      "other DATA."),
        ("two words", {}, "WORD: `two words` is more than one word. Give one word: firth company MODEL bank"),
        (" ", {}, "WORD: is empty. Give one word: firth company MODEL bank"),
        ("ship", {"count": 5}, "--most 5: too few to group: 10 are needed. Leave it out for 400."),
        ("ship", {"groups": 9}, "groups = 9: no such number of groups. Ask for 1 to 6, or leave it out."),
        ("ship", {"method": "kmeans"}, "method = kmeans: no such grouping. Did you mean `k-means`? There is: k-means, "
                                       "agglomerative."),
    ],
)  # fmt: skip
def test_golden_messages(word, options, message):
    corpus = str(runs.folder() / "corpus.txt")
    with pytest.raises(InputError) as caught:
        company(runs.folder() / MODEL, word, corpus, **options)
    assert str(caught.value) == message.replace("CORPUS", corpus)


def test_a_rare_word_is_refused(tmp_path):
    path = write(tmp_path, [f"A ship {i}." for i in range(4)] * 3 + ["Else."] * 9)
    with pytest.raises(InputError) as caught:
        company(runs.folder() / MODEL, "ship", path)
    assert str(caught.value) == (
        f"`ship` in {path}: seen 12 times, in 4 different sentences; 10 are needed. "
        "Choose a more frequent word, or give more DATA."
    )


def test_a_model_that_is_no_run_needs_data():
    model = runs.folder() / MODEL / "model"
    with pytest.raises(InputError) as caught:
        company(model, "ship")
    assert str(caught.value) == (
        f"{model}: is no run of firth, which would know the text it was trained on. "
        f"Give the text to look in: firth company {model} WORD DATA"
    )


def test_a_model_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        company(tmp_path, "ship", runs.folder() / "corpus.txt")
    assert str(caught.value) == (
        f"{tmp_path}: holds no config.json. Give a run folder, or a folder with config.json and model.safetensors."
    )
