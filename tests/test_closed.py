"""Arms without training: each equals its parts done by hand, uses its own labels alone, and hangs on no other trial."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from firth.data.labelled import Labelled
from firth.errors import InputError
from firth.evaluate import arms, closed, linear, plain_images
from firth.evaluate.arms import Drawn
from firth.evaluate.linear import Part
from firth.functional import hog, patches
from firth.model.backbones import backbone_of
from firth.model.init import initialise
from firth.model.sizes import shape_of
from firth.objective import Composed
from firth.recipe import Recipe
from firth.task import Example, Where
from firth.tasks import classify
from tests.digit_pictures import Pictures, composed, digits, source

NAMES = tuple("0123456789")
TEST = (1200, 1500)


def examples(begin, end):
    return [Example(f"digit {i}", NAMES[digits()[1][i]], Where("digits", i)) for i in range(begin, end)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small dictionaries of few patches."""
    monkeypatch.setattr(plain_images, "CENTROIDS", 100)
    monkeypatch.setattr(plain_images, "PATCHES", 10_000)


def drawn(labels=120, seed=0):
    """The labels of a draw: so many digits from a place that hangs on the seed, a fifth of them for validation."""
    begin, cut = 400 * seed, 400 * seed + labels * 4 // 5
    bounds = {"train": (begin, cut), "valid": (cut, begin + labels), "test": TEST}
    sources = {name: source(*ends) for name, ends in bounds.items()}
    records = {name: examples(*ends) for name, ends in bounds.items()}
    task = classify.Config(classes=NAMES)
    return Drawn(labels, seed, Labelled(**sources, classes=NAMES, records=records, facts={}, findings=[], task=task))


def plain_arms(raw=None):
    return closed.plain_arms(Pictures().facts.offers, lambda: raw, 0)


def score(arm, data):
    trial = arm(data)
    return float((trial.predicted == data.gold).mean())


def vectors_of(make, data, part):
    samples = getattr(data.labelled, part).samples
    return Part(make(samples), np.array([one.label for one in samples]))


# ------------------------------------------------------------------ plain vectors


def test_every_baseline_learns_and_better_vectors_do_better():
    data, found = drawn(), plain_arms(source(0, 1200, labelled=False))
    scores = {name: score(arm, data) for name, arm in found.items()}
    assert list(scores) == ["pixels", "hog", "patches"]
    assert min(scores.values()) > 0.7 and scores["patches"] > scores["pixels"]


def test_pixels_are_their_values_and_a_logistic_regression_chosen_by_validation():
    data = drawn()
    train, valid = (vectors_of(plain_images.pixels, data, part) for part in ("train", "valid"))
    np.testing.assert_allclose(train.vectors[3], digits()[0][3].ravel() / 255, rtol=1e-6)
    test = plain_images.pixels(data.labelled.test.samples)
    expected = linear.classified(train, valid, test, linear.logistic)
    np.testing.assert_array_equal(plain_arms()["pixels"](data).predicted, expected)


def test_gradients_have_about_eight_cells_to_a_side():
    samples = source(0, 3).samples
    images = np.stack([one.parts[0] for one in samples])
    np.testing.assert_array_equal(plain_images.oriented(samples), hog.hog(images, 2))
    large = [one.but(parts=(one.parts[0].repeat(4, 1).repeat(4, 2),)) for one in samples]
    assert plain_images.oriented(large).shape == (3, 7 * 7 * 4 * 9)


def test_patches_are_learnt_from_raw_images_with_no_label():
    raw, data = source(0, 100, labelled=False), drawn()
    images = torch.from_numpy(np.stack([one.parts[0] for one in raw.samples]))
    learnt = patches.learn(images, plain_images.CENTROIDS, 4, 10_000, seed=0)
    expected = patches.features(images[:5], learnt)
    found = plain_images.patch_vectors(raw, 0)(raw.samples[:5])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)
    assert plain_arms(raw)["patches"](data).predicted.shape == data.gold.shape


def test_raw_samples_are_asked_for_once_and_a_dictionary_learnt_once(monkeypatch):
    asked, learnt, learn, raw = [], [], patches.learn, source(0, 50, labelled=False)
    monkeypatch.setattr(patches, "learn", lambda *given: learnt.append(1) or learn(*given))
    arm = closed.plain_arms(Pictures().facts.offers, lambda: asked.append(1) or raw, 0)["patches"]
    for seed in (0, 1):
        arm(drawn(60, seed))
    assert (asked, learnt) == ([1], [1])


@pytest.mark.parametrize("name", ["pixels", "hog"])
def test_vectors_that_learn_nothing_are_made_once_and_ask_for_no_raw_samples(monkeypatch, name):
    one, seen = closed.PLAIN[name], []

    def make(source, seed):
        vectors = one.make(source, seed)
        return lambda samples: seen.extend(sample.key for sample in samples) or vectors(samples)

    monkeypatch.setitem(closed.PLAIN, name, one._replace(make=make))
    arm = closed.plain_arms(Pictures().facts.offers, lambda: pytest.fail("nothing is learnt"), 0)[name]
    for seed in (0, 1):
        arm(drawn(60, seed))
    test = {sample.key for sample in source(*TEST).samples}
    assert sum(key in test for key in seen) == len(test)


def test_without_raw_samples_each_draw_learns_from_its_own():
    data = [drawn(60, 0), drawn(60, 1)]
    alone = plain_arms()["patches"](data[1]).predicted
    arm = plain_arms()["patches"]
    arm(data[0])
    np.testing.assert_array_equal(arm(data[1]).predicted, alone)


def test_nothing_is_offered_to_a_signal_without_pixels():
    assert closed.plain_arms(frozenset({"tokens"}), lambda: None, 0) == {}


# ------------------------------------------------------------------ frozen vectors


def probes(calls=None):
    def model(data, pretrained):
        if calls is not None:
            calls.append((data.seed, pretrained))
        found = composed(classify.Classify, seed=99 if pretrained else data.seed, name="classify", classes=NAMES)
        return found

    return closed.probes(Pictures(), model)


def test_the_probe_is_a_logistic_regression_on_what_the_head_is_given():
    data, model = drawn(), composed(classify.Classify, seed=99, name="classify", classes=NAMES)
    model.eval()

    def make(samples):
        with torch.no_grad():
            return model.encode(Pictures().stack(samples)).mean.numpy()

    parts = [vectors_of(make, data, part) for part in ("train", "valid", "test")]
    expected = linear.classified(*parts[:2], parts[2].vectors, linear.logistic)
    assert (probes()["linear"](data).predicted == expected).mean() > 0.99  # batches of other sizes round otherwise


def test_a_probe_of_patches_reads_their_mean_and_the_head_the_class_token():
    """As the class of transformers with a head has it: the saved model could hold no mean."""
    shape = shape_of("vit", "1x16", image=8, channels=1)
    backbone = backbone_of(shape)
    model = Composed(backbone, {"classify": classify.Classify(classify.Config(classes=NAMES), backbone)})
    initialise(model, shape, 0)
    samples, part = source(0, 5).samples, model.parts["classify"]
    with torch.no_grad():
        features = model.eval().encode(Pictures().stack(samples))
    np.testing.assert_allclose(closed.frozen(model, Pictures())(samples), features.values[:, 1:].mean(1), rtol=1e-5)
    torch.testing.assert_close(part.vector(features), features.values[:, 0])


def test_the_neighbours_are_those_of_scikit_learn_with_weighted_votes():
    data, model = drawn(), composed(classify.Classify, seed=99, name="classify", classes=NAMES)
    make = closed.frozen(model, Pictures())
    train, valid, test = (vectors_of(make, data, part) for part in ("train", "valid", "test"))
    theirs = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07))
    theirs.fit(np.concatenate([train.vectors, valid.vectors]), np.concatenate([train.labels, valid.labels]))
    assert (probes()["neighbours"](data).predicted == theirs.predict(test.vectors)).mean() > 0.98


def test_a_model_is_opened_once_and_shared_and_an_untrained_one_once_a_seed():
    calls = []
    found = probes(calls)
    for seed in (0, 1):
        for name in ("linear", "linear-random", "neighbours", "neighbours-random"):
            found[name](drawn(60, seed))
    assert calls == [(0, True), (0, False), (1, False)]


def test_the_test_part_is_encoded_once_a_network_whatever_reads_it(monkeypatch):
    seen, real = [], closed.frozen

    def frozen(objective, signal):
        vectors = real(objective, signal)
        return lambda samples: seen.extend(one.key for one in samples) or vectors(samples)

    monkeypatch.setattr(closed, "frozen", frozen)
    found = probes()
    for seed in (0, 1):
        for name in ("linear", "linear-random", "neighbours", "neighbours-random"):
            found[name](drawn(40, seed))
    test = {one.key for one in source(*TEST).samples}
    assert sum(key in test for key in seen) == 3 * len(test)  # the pre-trained one, and an untrained one a seed


def test_trials_do_not_hang_on_those_before():
    one, two = probes(), probes()
    one["linear"](drawn(60, 0))
    first, second = one["linear"](drawn(60, 1)), two["linear"](drawn(60, 1))
    np.testing.assert_array_equal(first.predicted, second.predicted)


def test_draws_that_are_the_same_are_read_once(monkeypatch):
    reads, real = [], linear.classified
    monkeypatch.setattr(linear, "classified", lambda *given: reads.append(1) or real(*given))
    arm, whole = probes()["linear"], drawn(60, 0)
    trials = [arm(whole._replace(seed=seed)) for seed in (0, 1, 2)]  # of all labels: the draws of all seeds are alike
    assert reads == [1] and [one.seed for one in trials] == [0, 1, 2]
    assert len({(one.predicted.tobytes(), one.seconds) for one in trials}) == 1 and trials[0].seconds > 0
    arm(drawn(60, 1)), arm(drawn(40, 0))
    untrained = probes()["linear-random"]
    untrained(whole), untrained(whole._replace(seed=1))
    assert len(reads) == 5


def test_vectors_that_take_too_much_room_are_not_kept(monkeypatch):
    monkeypatch.setattr(closed, "KEPT", 10)
    kept = closed.Kept(plain_images.pixels)
    samples = source(0, 5).samples
    np.testing.assert_array_equal(kept(samples), kept(samples))
    assert kept.found == {}


# ------------------------------------------------------------------ among the arms


def test_tasks_of_several_labels_are_refused():
    data = SimpleNamespace(classes=())
    with pytest.raises(InputError) as caught:
        plain_arms()["pixels"](data)
    assert str(caught.value) == (
        "arm `pixels`: reads one class of each sample, and here samples have several, or numbers. "
        "Leave it out of --arms."
    )


def test_arms_are_those_that_can_read_the_signal():
    recipe = Recipe(verb="adapt", objective=("classify",))
    names = arms.default("classify", Pictures().facts.offers)
    assert names == ("random", "patch-kmeans", "pretrained", "linear-random", "linear", "pixels", "hog", "patches")
    assert list(arms.arms_of(names, recipe, Pictures())) == list(names)
    assert arms.default("tag", Pictures().facts.offers) == ("random", "patch-kmeans", "pretrained")
    with pytest.raises(InputError) as caught:
        arms.arms_of(["tf-idf"], recipe, Pictures())
    assert "arm `tf-idf`: no such arm" in str(caught.value)


def test_the_verdict_is_about_the_first_arm_that_knows_the_pre_training():
    assert arms.main_of(["random", "linear", "pretrained"]) == "pretrained"
    assert arms.main_of(["pixels", "neighbours", "linear"]) == "linear"
    assert arms.main_of(["random"]) == "pretrained"


def test_every_arm_has_a_title():
    assert all(arms.title(name) != name for name in arms.default("classify", Pictures().facts.offers))
