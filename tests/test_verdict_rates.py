"""The simulation of the verdict's errors: it makes what it says it makes; at 400 draws the rates are as promised."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from benchmarks import verdict_rates
from benchmarks.verdict_rates import GAIN, NULL, Rates, Setting, correlation, draw, line, lower, rates, upper
from firth.evaluate.statistics import paired_difference
from firth.evaluate.verdict import verdict
from tests.house import ROOT

DRAWS = 400


def named(setting: Setting) -> str:
    return setting.name.replace(" ", "-")


def drawn(setting: Setting, seeds: int, items: int, seed: int = 0) -> list[np.ndarray]:
    return list(draw(np.random.default_rng(seed), setting, seeds, items))


# ------------------------------------------------------------------ the promise


@pytest.mark.parametrize("setting", NULL, ids=named)
@pytest.mark.parametrize("seeds", [3, 5])
def test_without_a_gain_the_verdict_seldom_says_pays(setting, seeds):
    found = rates(setting, seeds, 500, DRAWS)
    assert upper(found.pays, DRAWS) <= 0.07 and upper(found.harms, DRAWS) <= 0.07


def test_a_gain_of_three_points_is_found_with_five_seeds():
    found = rates(GAIN[0], 5, 5000, DRAWS)
    assert GAIN[0].gain == 3 and GAIN[0].spread == 1
    assert found.pays >= 0.9 * DRAWS and found.harms == 0


def test_more_seeds_and_less_spread_find_more():
    three, five, wide = rates(GAIN[0], 3, 1000, 200), rates(GAIN[0], 5, 1000, 200), rates(GAIN[1], 5, 1000, 200)
    assert three.pays < five.pays and wide.pays < five.pays


# ------------------------------------------------------------------ the draws


@pytest.mark.parametrize("setting", [*NULL, *GAIN], ids=named)
def test_accuracies_and_their_difference_are_what_the_setting_says(setting):
    found = [[right.mean() for right in drawn(setting, 40, 2000, seed)] for seed in range(20)]
    first, second = np.mean(found, axis=0)
    assert first - second == pytest.approx(setting.gain / 100, abs=0.012)
    assert second == pytest.approx(setting.accuracy, abs=0.012 + 0.06 * setting.lean)


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_the_spread_over_seeds_is_that_of_the_difference(spread):
    first, second = drawn(Setting("", 0.7, spread, 0.4, 0.1), 1500, 4000)
    difference = 100 * (first.mean(1) - second.mean(1))
    noise = 100 * np.sqrt(((first - second.astype(float)).var(0)).mean() / 4000)  # of items that each seed has anew
    wanted = np.sqrt(spread**2 + noise**2) if spread else noise
    assert difference.std(ddof=1) == pytest.approx(wanted, rel=0.15)


def test_seeds_and_arms_agree_as_the_shares_say():
    setting = Setting("", 0.5, 0.0, 0.3, 0.2)
    first, second = drawn(setting, 2, 200_000)
    sheppard = [2 / np.pi * np.arcsin(share) for share in (0.5, 0.3)]  # phi of two signs; Sheppard 1899
    assert correlation(first[0], first[1]) == pytest.approx(sheppard[0], abs=0.01)
    assert correlation(first[0], second[0]) == pytest.approx(sheppard[1], abs=0.01)


def test_a_seed_that_leans_is_right_in_one_class_more_than_in_the_other():
    first, _ = drawn(Setting("", 0.6, 0.0, 0.3, 0.0, lean=0.8), 200, 2000)
    apart = first[:, 1::2].mean(1) - first[:, ::2].mean(1)
    assert apart.std() > 0.2 and abs(apart.mean()) < 0.1


def test_the_same_seed_makes_the_same_draws():
    assert rates(NULL[0], 3, 100, 20, seed=4) == rates(NULL[0], 3, 100, 20, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(drawn(NULL[0], 3, 50), drawn(NULL[0], 3, 50), strict=True))


# ------------------------------------------------------------------ what is counted and printed


def test_pays_is_counted_where_the_sentence_says_so():
    source = np.random.default_rng([0, 3, 300])
    setting = Setting("", 0.7, 2.0, 0.3, 0.1, gain=5.0)
    intervals = [paired_difference(*draw(source, setting, 3, 300)) for _ in range(60)]
    sentences = [verdict(interval, 200) for interval in intervals]
    found = rates(setting, 3, 300, 60)
    assert found.pays == sum(one.startswith("Pre-training pays") for one in sentences) > 0
    assert found.harms == sum("does not pay" in one for one in sentences)


@pytest.mark.parametrize(("count", "draws"), [(0, 400), (7, 400), (50, 2000), (1999, 2000), (20, 20)])
def test_bounds_are_those_of_clopper_and_pearson(count, draws):
    above = stats.binomtest(count, draws, alternative="less").proportion_ci(0.95, "exact")
    below = stats.binomtest(count, draws, alternative="greater").proportion_ci(0.95, "exact")
    assert upper(count, draws) == pytest.approx(above.high)
    assert lower(count, draws) == pytest.approx(below.low)


def test_a_line_of_the_table():
    found = Rates(2000, 40, 30, 0.31, 0.2)
    assert line(NULL[1], 3, 5000, found) == "| 0 | 1 point | 3 | 5,000 | 2.00 % | ≤ 2.6 % | 1.50 % | 0.31 | 0.20 |"
    assert line(GAIN[0], 5, 5000, found._replace(pays=1900)).startswith(
        "| 3 | 1 point | 5 | 5,000 | 95.00 % | ≥ 94.1 %"
    )


def test_the_command_prints_a_line_for_every_case(monkeypatch, capsys):
    monkeypatch.setattr(verdict_rates, "ITEMS", (50,))
    monkeypatch.setattr(sys, "argv", ["verdict_rates.py", "--draws", "3"])
    verdict_rates.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 draws a line; gain and spread in points"
    assert sum(one.startswith(("| 0 |", "| 3 |")) for one in lines) == 2 * len(NULL) + 2 * len(GAIN)


def test_it_needs_no_torch():
    program = "import sys, benchmarks.verdict_rates; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
