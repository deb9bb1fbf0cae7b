"""company.html: whole, offline, harmless; every point has its sentence, and the map has words for the ear."""

import json
import re

import pytest

from firth.evaluate.company import Company, Group, Layer, Occurrence
from firth.report import company_page
from firth.report.company_page import write_company
from tests.comparisons import HOSTILE
from tests.test_report_html import Structure, check


def made(word="bank", sentence="The {} by the river {} is wide.", groups=2, layers=4, clear=True) -> Company:
    """30 occurrences in turn in each group, by hand."""
    occurrences = [
        Occurrence(sentence.format(word, i), 4, 4 + len(word), f"text.txt:{i + 1}", i % groups,
                   [(i % groups + i / 100, i / 30)] * layers, [[(i + groups) % 30, (i + 1) % 30]] * layers)
        for i in range(30)
    ]  # fmt: skip
    words = [[{"word": "river", "here": 9, "elsewhere": 1, "log_odds": 2.5, "p": 0.001}], []]
    found = [Group(30 // groups, words[n % 2], [n, n + groups]) for n in range(groups)]
    levels = [Layer(1 - n / 10, 0.9 if n else None, 0.9, 0.2, 0.7, 0.5 + n / 10) for n in range(layers)]
    chance = 0.1 if clear else 0.5
    return Company(
        "runs/wiki", word, ["text.txt"], 4803, layers - 1, "k-means", 0.3, chance, found, levels, occurrences
    )


def page(tmp_path, company: Company) -> str:
    return write_company(company, tmp_path / "company.html").read_text(encoding="utf-8")


def test_the_page_is_whole_and_asks_nothing(tmp_path):
    text = page(tmp_path, made())
    shown = "".join(check(text).text)
    assert "http://" not in text and "https://" not in text
    assert "“bank” keeps 2 kinds of company: river | no typical word." in shown
    assert "30 of 4,803 occurrences" in shown and "prefers-color-scheme: dark" in text


def test_every_point_shows_its_sentence(tmp_path):
    text = page(tmp_path, made())
    heads = re.findall(r'<g class="row" data-head="([^"]*)" data-values="([^"]*)"', text)
    maps = text.count('id="map-') - text.count('id="map-main-title"')
    assert maps > 0 and len(heads) == 30 * (1 + len(company_page.drawn(3, 3)))
    assert {head for head, _ in heads} == {f"The bank by the river {i} is wide." for i in range(30)}
    for _, values in heads:
        ((style, name, _),) = json.loads(values.replace("&#34;", '"'))
        assert name == f"group {style + 1}"


def test_maps_and_charts_are_told_in_words(tmp_path):
    text = page(tmp_path, made())
    told = re.findall(r'<desc id="[^"]*">([^<]+)</desc>', text)
    assert len(told) == 3 + 1 + len(company_page.drawn(3, 3))
    assert any(one.startswith("Map of 30 occurrences, layer 3 of 3, grouped here. Group 1, 15 points") for one in told)


def test_points_lie_in_the_frame():
    chart = company_page.scatter(made(), 2)
    assert all(0 < dot["x"] < chart["width"] and 0 < dot["y"] < chart["height"] for dot in chart["dots"])


def test_unclear_groups_are_said_to_be_unclear(tmp_path):
    text = page(tmp_path, made(clear=False))
    assert '<h1 class="verdict open">“bank” keeps one kind of company here' in text
    assert "not above the 0.50 that a cloud" in text


@pytest.mark.parametrize(("groups", "layers"), [(1, 2), (3, 7), (6, 13)])
def test_any_number_of_groups_and_layers(tmp_path, groups, layers):
    check(page(tmp_path, made(groups=groups, layers=layers)))


def test_hostile_text_is_text(tmp_path):
    text = page(tmp_path, made(word=HOSTILE))
    shown = check(text)
    assert "img" not in shown.tags and text.count("<script>") == 1
    assert HOSTILE in "".join(Structure(text).text)


def test_long_sentences_are_cut_for_the_hover():
    one = Occurrence("left " * 100 + "bank" + " right" * 100, 500, 504, "", 0, [], [])
    told = company_page.window(one)
    assert told.startswith("… ") and told.endswith(" …") and "bank" in told and len(told) < 200


@pytest.mark.parametrize("last", [1, 2, 3, 6, 12])
def test_layers_drawn_are_few_and_exist(last):
    for chosen in range(last + 1):
        found = company_page.drawn(last, chosen)
        assert {0, chosen, last} <= set(found) and len(found) <= 4 and found == sorted(found)


def test_a_folder_gets_page_and_numbers(tmp_path):
    assert write_company(made(), tmp_path) == tmp_path / "company.html"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["company.html", "company.json"]
