"""The sentences, word for word."""

import pytest

from firth.evaluate.statistics import Interval
from firth.evaluate.verdict import against, but, finding, interval, points, signed, verdict

PAYS = Interval(0.071, 0.040, 0.102, 3)
OPEN = Interval(0.012, -0.02, 0.044, 5)
HARMS = Interval(-0.031, -0.05, -0.012, 3)
FEW = Interval(0.071, 0.01, 0.13, 2)
ONE = Interval(0.071, float("nan"), float("nan"), 1)


@pytest.mark.parametrize(
    ("difference", "sentence"),
    [
        (
            PAYS,
            "Pre-training pays here: +7.1 points over random initialisation at 200 labels "
            "(95 % interval +4.0 to +10.2, 3 seeds).",
        ),
        (
            OPEN,
            "Not shown that pre-training pays here: +1.2 points over random initialisation at 200 labels "
            "(95 % interval −2.0 to +4.4, 5 seeds).",
        ),
        (
            HARMS,
            "Pre-training does not pay here: −3.1 points over random initialisation at 200 labels "
            "(95 % interval −5.0 to −1.2, 3 seeds).",
        ),
        (
            FEW,
            "No verdict: 2 seeds are too few, 3 are needed; "
            "measured +7.1 points over random initialisation at 200 labels.",
        ),
        (
            ONE,
            "No verdict: 1 seed is too few, 3 are needed; "
            "measured +7.1 points over random initialisation at 200 labels.",
        ),
        (
            Interval(1.0, float("nan"), float("nan"), 3),
            "No verdict: the test items are too few, 10 are needed; "
            "measured +100.0 points over random initialisation at 200 labels.",
        ),
    ],
)
def test_the_verdict(difference, sentence):
    assert verdict(difference, 200) == sentence


def test_an_interval_that_touches_zero_shows_nothing():
    assert verdict(Interval(0.02, 0.0, 0.04, 3), 200).startswith("Not shown")
    assert verdict(Interval(0.0, 0.0, 0.0, 3), 200).startswith("Not shown")


def test_against_another_arm():
    sentence = against(PAYS, 1000, "Pre-trained", "TF-IDF + logistic regression")
    assert sentence == (
        "Pre-trained against TF-IDF + logistic regression at 1,000 labels: +7.1 points, better "
        "(95 % interval +4.0 to +10.2, 3 seeds)."
    )
    assert "−3.1 points, worse (" in against(HARMS, 200, "a", "b")
    assert "+1.2 points, a difference is not shown (" in against(OPEN, 200, "a", "b")
    assert against(FEW, 200, "a", "b") == "a against b at 200 labels: +7.1 points, no verdict (2 seeds are too few)."


def test_numbers_have_signs_and_a_real_minus():
    assert [signed(x) for x in (0.071, -0.004, 0.0, 0.00004, -0.00004)] == ["+7.1", "−0.4", "0.0", "0.0", "0.0"]
    assert points(0.0213) == "+2.1 points"
    assert interval(PAYS) == "95 % interval +4.0 to +10.2, 3 seeds"


def test_finding_names_one_of_four():
    assert [finding(x) for x in (PAYS, HARMS, OPEN, FEW)] == [
        "better",
        "worse",
        "a difference is not shown",
        "no verdict",
    ]


def test_who_does_better_is_said_in_the_headline():
    worse = Interval(-0.151, -0.204, -0.099, 3)
    assert but({"Word overlap": worse, "TF-IDF + logistic regression": Interval(-0.02, -0.05, 0.01, 3)}) == [
        "But word overlap does better here: +15.1 points (95 % interval +9.9 to +20.4, 3 seeds)."
    ]
    assert but({"TF-IDF + logistic regression": worse})[0].startswith("But TF-IDF + logistic regression does better")
    assert but({"Word overlap": Interval(0.1, 0.05, 0.15, 3)}) == []
    assert but({"Word overlap": Interval(-0.1, -0.2, -0.05, 2)}) == []
