"""report.html: whole, harmless, complete, and asking nothing of any network."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from firth.report import comparison_page, facts, run_page
from firth.report.html import write_comparison, write_run
from tests.comparisons import HOSTILE, comparison

VOID = {"meta", "link", "br", "img", "input", "hr"}
FACTS = {
    "subject": "a test",
    "data": {"documents": 33_000, "words": 6_100_000},
    "settings": {"learning rate": 3e-4, "steps": 100},
    "cost": {"pre-training": 35.0, "comparing": 40.0},
    "cores": 2,
    "versions": {"firth": "0.1.0"},
    "command": "firth demo --seed 0",
    "fills": [{"text": "the film was [MASK] .", "guesses": [("good", 0.3), ("bad", 0.1)], "truth": "fine"}],
    "pretraining": [{"step": i * 100, "loss": 9 - i, "accuracy": 0.05 * i} for i in range(4)],
}


class Structure(HTMLParser):
    """Every tag is closed in order; ids, references and sources are kept."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.tags, self.references, self.sources, self.text = [], [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), f"<{tag} {name}>"
            self.ids += [value] if name == "id" else []
            self.references += value.split() if name in ("aria-labelledby", "aria-describedby") else []
            self.sources += [value] if name in ("src", "href", "action", "data", "srcset", "poster") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def page(tmp_path, found) -> str:
    return write_comparison(found, tmp_path / "report.html").read_text(encoding="utf-8")


def check(text: str) -> Structure:
    """What holds for every report."""
    found = Structure(text)
    assert text.startswith("<!doctype html>") and found.open == []
    assert len(found.ids) == len(set(found.ids)), "ids are unique"
    assert set(found.references) <= set(found.ids)
    assert found.sources == ["data:,"]
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import\(", text)
    assert "default-src 'none'" in text
    assert found.tags.count("main") == 1 and found.tags.count("h1") == 1 and found.tags.count("script") == 1
    return found


@pytest.fixture
def run_folder(tmp_path) -> Path:
    folder = tmp_path / "reviews"
    (folder / "samples").mkdir(parents=True)
    rows = [{"step": i, "loss": 9 - i / 50, "masked_tokens": 9 - i / 50, "masked_tokens_accuracy": i / 400, "lr": 1e-3,
             "seconds": 0.1, "tokens": i * 2048, "elapsed": i * 0.1} for i in range(1, 401)]  # fmt: skip
    rows += [{"step": i, "held_out": {"loss": 9 - i / 60, "masked_tokens": 9 - i / 60,
                                      "masked_tokens_accuracy": i / 500, "masked_tokens_perplexity": 61.0}}
             for i in (0, 200, 400)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    metrics = {"loss": 4.12, "masked_tokens": 4.12, "masked_tokens_accuracy": 0.241, "masked_tokens_perplexity": 61.4}
    kept = {
        "status": "finished",
        "seed": 3,
        "data": {"documents": 120, "unit": "line", "fingerprint": "abc", "languages": {"en": 120}},
        "plan": {"steps": 400, "tokens": 819_200},
        "result": {"metrics": metrics, "steps": 400},
        "seconds": {"data": 3.0, "training": 35.0},
        "versions": {"firth": "0.1.0", "torch": "2.13.0"},
        "machine": {"processor": "Some CPU", "cores": 2},
    }
    (folder / "run.json").write_text(json.dumps(kept), encoding="utf-8")
    (folder / "config.toml").write_text('verb = "pretrain"\nseed = 3\n', encoding="utf-8")
    (folder / "samples" / "fills-0.txt").write_text("the ship [MASK] · . 4 %", encoding="utf-8")
    (folder / "samples" / "fills-400.txt").write_text("the ship [MASK] · sails 31 %", encoding="utf-8")
    return folder


# ------------------------------------------------------------------ comparisons


def test_a_comparison_is_whole_and_asks_nothing(tmp_path):
    found = comparison(facts=FACTS)
    text = page(tmp_path, found)
    shown = check(text)
    assert found.verdict in "".join(shown.text)
    for sentence in found.sentences:
        assert sentence in "".join(shown.text)
    assert "http://" not in text and "https://" not in text


@pytest.fixture
def small_disk():
    """No file may have more than a thousand bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_was_there_stays_where_the_disk_takes_no_more(tmp_path, small_disk):
    found = comparison()
    for name, write in (("report.html", write_comparison), ("comparison.json", type(found).save)):
        (tmp_path / name).write_text("whole")
        with pytest.raises(OSError):
            write(found, tmp_path / name)
        assert (tmp_path / name).read_text() == "whole"
    assert len(list(tmp_path.iterdir())) == 2


def test_every_chart_has_a_title_a_description_and_its_numbers(tmp_path):
    text = page(tmp_path, comparison(facts=FACTS))
    charts = re.findall(r'<svg class="plot".*?</svg>', text, re.S)
    assert len(charts) == 6
    assert all('role="img"' in one and re.search(r"<desc id=[^>]*>\S", one) for one in charts)
    assert text.count("<summary>Numbers</summary>") == 6
    assert "Validation loss while adapting, 200 labels" in text and "nats per item" in text


def test_the_verdict_comes_first_and_its_tone_follows_it(tmp_path):
    good = page(tmp_path, comparison(seeds=5))
    assert '<h1 class="verdict good">Pre-training pays here' in good
    assert good.index("<h1") < good.index("<svg")
    same = dict.fromkeys(("random", "co-occurrence", "pretrained", "tf-idf"), 0.6)
    assert '<h1 class="verdict open">Not shown' in page(tmp_path, comparison(seeds=5, rates=same))
    worse = {**same, "pretrained": 0.45}
    assert '<h1 class="verdict bad">Pre-training does not pay' in page(tmp_path, comparison(seeds=5, rates=worse))


def test_one_seed_is_shown_without_interval_or_verdict(tmp_path):
    text = page(tmp_path, comparison(seeds=1))
    check(text)
    assert "No verdict: 1 seed is too few" in text and "nan" not in "".join(Structure(text).text)


def test_several_budgets_have_a_curve_of_label_efficiency(tmp_path):
    text = page(tmp_path, comparison(budgets=(50, 200, 1000), facts=FACTS))
    check(text)
    assert "How many labels it takes" in text and "With 1,000 labels in all" in text
    assert "How many labels it takes" not in page(tmp_path, comparison())


def test_hostile_text_is_text(tmp_path):
    evil = {
        **FACTS,
        "subject": HOSTILE,
        "command": HOSTILE,
        "notes": [HOSTILE],
        "data": {HOSTILE: HOSTILE},
        "fills": [{"text": f"{HOSTILE} [MASK]", "guesses": [(HOSTILE, 0.5)], "truth": HOSTILE}],
    }
    found = comparison(inputs=[HOSTILE] * 400, facts=evil)
    titles = {**found.titles, "random": HOSTILE, "pretrained": '"><script>alert(1)</script>'}
    changed = type(found)(titles, (HOSTILE, "b"), found.gold, found.trials, inputs=found.inputs, facts=evil)
    text = page(tmp_path, changed)
    shown = check(text)
    assert "img" not in shown.tags
    assert text.count("<script>") == 1 and "&lt;script&gt;" in text
    assert HOSTILE in "".join(shown.text)


def test_what_the_script_reads_is_json(tmp_path):
    found = Structure(page(tmp_path, comparison(facts=FACTS)))
    assert found.tags.count("svg") > 6
    values = re.findall(r'data-values="([^"]*)"', page(tmp_path, comparison()))
    assert len(values) > 20
    for value in values:
        for style, _, shown in json.loads(value.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&")):
            assert isinstance(style, int) and shown


def test_dark_light_print_and_phone_are_styled(tmp_path):
    text = page(tmp_path, comparison())
    assert "prefers-color-scheme: dark" in text and "@media print" in text and "max-width: 40rem" in text
    assert 'name="viewport"' in text and '<html lang="en">' in text


def test_facts_fills_and_mistakes_are_told(tmp_path):
    found = comparison(facts=FACTS)
    shown = "".join(Structure(page(tmp_path, found)).text)
    assert "33,000" in shown and "6,100,000" in shown and "firth demo --seed 0" in shown
    assert "about 0.42 Wh, assuming 10 W for each of 2 cores" in shown
    assert "written there: fine" in shown and "30 %" in shown
    for text, _, _ in found.mistakes("pretrained", 200):
        assert text in shown


def test_the_confusion_matrix_counts_all_seeds():
    matrix = comparison_page.confusions(comparison())[0]
    counts = [int(cell["count"].replace(",", "")) for row in matrix["rows"] for cell in row["cells"]]
    assert sum(counts) == 3 * 400
    assert [cell["right"] for row in matrix["rows"] for cell in row["cells"]] == [True, False, False, True]


def test_many_classes_have_no_matrix():
    found = comparison()
    many = type(found)(found.titles, [str(i) for i in range(21)], found.gold, found.trials)
    assert comparison_page.confusions(many) == []


# ------------------------------------------------------------------ runs


def test_a_run_is_whole_and_asks_nothing(run_folder):
    path = write_run(run_folder)
    assert path == run_folder / "report.html"
    text = path.read_text(encoding="utf-8")
    shown = "".join(check(text).text)
    assert (
        "Held-out masked tokens 4.120 · masked tokens accuracy 24.1 % · masked tokens perplexity 61 · 400 steps"
        in shown
    )
    assert "sails 31 %" in shown and shown.index("step 0") < shown.index("step 400")
    assert "seed = 3" in shown and "Some CPU" in shown and "firth pretrain --config" in shown


def test_a_run_has_training_and_held_out_in_one_chart(run_folder):
    charts = run_page.content(run_folder)["charts"]
    assert [chart["title"] for chart in charts] == ["Masked tokens", "Masked tokens accuracy", "Learning rate"]
    assert [line["name"] for line in charts[0]["lines"]] == ["training", "held-out"]
    assert len(charts[0]["lines"][1]["marks"]) == 3


def test_long_curves_are_averaged():
    points = run_page.thinned([(i, float(i)) for i in range(1, 1001)])
    assert len(points) == 250
    assert points[0] == (4, 2.5) and points[-1] == (1000, 998.5)


def test_composed_runs_keep_the_total(run_folder):
    rows = [{"step": i, "loss": 3.0, "masked_tokens": 2.0, "next_sentence": 1.0} for i in (1, 2)]
    titles = [chart["title"] for chart in run_page.charts(rows)]
    assert titles == ["Loss", "Masked tokens", "Next sentence"]


def test_an_unfinished_or_empty_run_says_so(tmp_path, run_folder):
    shutil.copy(run_folder / "config.toml", tmp_path / "config.toml")
    content = run_page.content(tmp_path)
    assert content["verdict"] == "This run has no result yet." and content["tone"] == "open"
    check(write_run(tmp_path).read_text(encoding="utf-8"))


def test_hostile_samples_of_a_run_are_text(run_folder):
    (run_folder / "samples" / "fills-500.txt").write_text(HOSTILE, encoding="utf-8")
    found = check(write_run(run_folder).read_text(encoding="utf-8"))
    assert "img" not in found.tags and HOSTILE in "".join(found.text)


def test_a_confusion_matrix_in_the_result_is_drawn():
    result = {"score": {"confusion": [[3, 1], [0, 4]], "classes": ["a", "b"]}}
    assert run_page.confusions(result)[0]["rows"][0]["cells"][1]["percent"] == "25 %"
    assert run_page.confusions({}) == []


def test_facts_are_words():
    told = dict(facts.pairs({"exact_duplicates": 1200, "lr": 0.00030, "ok": True, "names": ["a", "b"], "none": None}))
    assert told == {"exact duplicates": "1,200", "lr": "0.0003", "ok": "yes", "names": "a, b"}
    assert dict(facts.pairs({"classes": {"a": 1, "b": 2}})) == {"classes": "a 1, b 2"}


# ------------------------------------------------------------------ in a browser


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
def test_opens_offline_without_any_request(tmp_path, scheme, width):
    driver = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("needs Chromium")
    path = write_comparison(comparison(budgets=(50, 200), facts=FACTS), tmp_path / "report.html")
    requests, troubles = [], []
    with driver.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--headless=new", "--no-sandbox"])
        shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        shown.context.set_offline(True)
        shown.on("request", lambda request: requests.append(request.url))
        shown.on("pageerror", lambda error: troubles.append(str(error)))
        shown.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
        shown.goto(path.as_uri())
        shown.locator(".column").nth(3).hover()
        assert "Pre-trained" in shown.locator("#tip").inner_text()
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        browser.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in requests if url.startswith("file:")]) == 1 and troubles == []
