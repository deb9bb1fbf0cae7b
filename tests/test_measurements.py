"""The programs behind docs/results.md, on toy data: what they count, print and draw; and the queue that runs them."""

import itertools
import json
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from benchmarks import curves, jobs, results, shuffled, word_in_context
from tests import labelled_files, material, runs
from tests.comparisons import comparison
from tests.test_docs import options_of
from tests.test_word_in_context import rows

SVG = "{http://www.w3.org/2000/svg}"


def started(monkeypatch, capsys, program, *words) -> str:
    """What the program prints on stdout."""
    monkeypatch.setattr(sys, "argv", [program.__name__, *map(str, words)])
    program.main()
    return capsys.readouterr().out


# ------------------------------------------------------------------ loss against steps


@pytest.fixture
def kept(tmp_path) -> list[str]:
    """Two comparisons as `compare` keeps them: NAME=FILE."""
    for name, found in (("a", comparison(seeds=3)), ("b", comparison(seeds=2, budgets=(50, 200)))):
        found.save(tmp_path / f"{name}.json")
    return [f"Sentiment & more={tmp_path / 'a.json'}", f"Tags={tmp_path / 'b.json'}"]


def test_a_row_says_where_both_begin_and_when_the_one_is_as_good(kept, monkeypatch, capsys):
    found = json.loads(started(monkeypatch, capsys, curves, *kept, "--json"))
    assert [one["task"] for one in found] == ["Sentiment & more", "Tags"]
    for one, seeds in zip(found, (3, 2), strict=True):
        assert (one["labels"], one["seeds"]) == (200, seeds)
        assert one["opening"] == {"random": pytest.approx(0.64), "pretrained": pytest.approx(0.625)}
        assert (one["random_best"], one["random_best_step"]) == (pytest.approx(0.59), 100)
        assert (one["pretrained_reaches"], one["pretrained_best"]) == (40, pytest.approx(0.44))


def test_the_table_has_a_line_a_task(kept, monkeypatch, capsys):
    lines = started(monkeypatch, capsys, curves, *kept).splitlines()
    assert lines[2] == "| Sentiment & more | 200 | 0.640 | 0.625 | 0.590 | 100 | 40 | 0.440 |"
    assert len(lines) == 4 and lines[0].count("|") == lines[2].count("|") == lines[1].count("|")
    never = json.loads(started(monkeypatch, capsys, curves, kept[0], "--json"))[0] | {"pretrained_reaches": None}
    assert "| never |" in curves.line(never)


def test_the_figure_is_an_svg_that_asks_nothing(kept, monkeypatch, capsys, tmp_path):
    started(monkeypatch, capsys, curves, *kept, "--out", tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    tree = ElementTree.fromstring(text)
    assert tree.tag == f"{SVG}svg" and "Sentiment & more: " in tree.find(f"{SVG}desc").text
    lines = [one for one in tree.iter(f"{SVG}path") if one.get("class") == "line"]
    faint = [one for one in tree.iter(f"{SVG}path") if one.get("class") == "faint"]
    assert len(lines) == 2 * 2 + 2 and len(faint) == 2 * 3 + 2 * 2  # two charts and the legend; a line a seed
    assert {one.get("stroke") for one in lines} == set(curves.COLOURS.values())
    assert text.count("http") == 1 and "<script" not in text  # the name space


def test_the_lines_of_the_figure_are_those_of_the_comparison(kept):
    _, found = curves.read(kept[0])
    steps, losses = curves.curves(found, "pretrained")
    assert steps == list(range(0, 101, 10)) and losses.shape == (3, 11)
    assert losses.mean(0)[-1] == pytest.approx(comparison().mean_curve("pretrained", 200)[-1].loss)
    assert curves.curves(found, "tf-idf")[0] == []


def test_a_name_without_a_file_is_refused():
    with pytest.raises(SystemExit, match=r"`here` names no file\. Write NAME=FILE"):
        curves.read("here")


# ------------------------------------------------------------------ words in context


def test_words_in_context_are_scored_from_a_tagged_file(tmp_path, monkeypatch, capsys):
    path = tmp_path / "words.conllu"
    path.write_text(labelled_files.conllu([list(zip(*one, strict=True)) for one in rows()]))
    model = runs.folder() / "pretrained"
    assert word_in_context.tagged(path) == rows()
    lines = started(monkeypatch, capsys, word_in_context, model, "--words", path, "--pairs", 300).splitlines()
    assert lines[0].endswith(f"pairs of {len({word for words, _ in rows() for word in words[1:2]})} word forms")
    kinds = [one.split(" | ")[1] for one in lines[4:]]
    assert kinds == ["model", "standardised", "untrained", "static"]
    assert "| pretrained | static | 50.0 % (50.0 to 50.0) | 0, 0 | 50.0 |" in lines
    told = started(monkeypatch, capsys, word_in_context, model, "--words", path, "--pairs", 300, "--json")
    assert json.loads(told)[0]["scores"]["static"]["accuracy"] == 0.5


# ------------------------------------------------------------------ shuffled labels

WRITE = {
    "sst2": material.write_labels,
    "sick": labelled_files.write_pairs,
    "upos": labelled_files.write_tags,
    "squad": labelled_files.write_questions,
}


@pytest.fixture
def sets(tmp_path, monkeypatch):
    for name, one in shuffled.SETS.items():
        path = WRITE[name](tmp_path, 60)
        settings = ("text.context=64",) if name == "squad" else ()
        own = one._replace(path=path.name, labels=20, settings=settings)
        monkeypatch.setitem(shuffled.SETS, name, own)
    return tmp_path


def test_controls_are_compared_counted_and_kept(sets, monkeypatch, capsys):
    words = ["--data", sets, "--base", runs.folder() / "pretrained", "--draws", 2, "--steps", 3, "--work", sets / "w"]
    found = json.loads(started(monkeypatch, capsys, shuffled, *words, "--only", "s", "--json"))
    assert [one["set"] for one in found["comparisons"]] == ["sst2", "sick", "upos", "squad"] * 2
    assert {rival: sum(several.values()) for rival, several in found["counts"].items()} == {"random": 8, "baseline": 8}
    assert sorted(path.name for path in (sets / "w").iterdir())[:2] == ["sick-0", "sick-1"]
    asked = json.loads((sets / "w" / "upos-1" / "asked.json").read_text())
    assert asked["control"] is True
    seeds = sorted(path.stem for path in (sets / "w" / "upos-1" / "trials").glob("random-*"))
    assert seeds == ["random-20-3", "random-20-4", "random-20-5"]
    lines = started(monkeypatch, capsys, shuffled, *words, "--only", "upos").splitlines()
    assert len(lines) == 2 + 2 + 2 and lines[2].startswith("| upos | 0 | accuracy | ")


def test_findings_are_counted_by_rival():
    def one(*findings):
        rivals = ("random", "tf-idf")
        return {"differences": [{"against": r, "finding": f} for r, f in zip(rivals, findings, strict=True)]}

    found = [one("better", "worse"), one("a difference is not shown", "worse")]
    assert shuffled.counted(found) == {
        "random": {"better": 1, "a difference is not shown": 1},
        "baseline": {"worse": 2},
    }


# ------------------------------------------------------------------ the queue


@pytest.fixture(scope="module")
def queue() -> list[jobs.Job]:
    return jobs.jobs(Path("data"), Path("kept"))


def test_jobs_have_names_of_their_own(queue):
    names = [one.name for one in queue]
    assert len(set(names)) == len(names)
    assert {"wiki-60m", "compare-sst2", "compare-upos", "compare-sick", "compare-squad", "heads", "shuffled"} <= {
        *names
    }


def test_commands_name_verbs_programs_and_options_that_exist(queue):
    for one in queue:
        words = one.command
        if words[:2] == ["-m", "firth"]:
            assert {word for word in words[3:] if word.startswith("--")} <= options_of(words[2]), one.name
        else:
            assert (results.ROOT / words[0]).exists(), one.name
        assert words[-1] == "--json" or "--json" in words


@pytest.mark.parametrize("name", ["compare-sst2", "compare-upos", "compare-sick", "compare-squad"])
def test_comparisons_have_three_seeds_all_labels_and_the_arms_of_their_task(queue, name):
    from firth.evaluate.baselines import BASELINES

    words = next(one.command for one in queue if one.name == name)
    given = dict(itertools.pairwise(words))
    assert given["--seeds"] == "3" and given["--labels"] == "all"
    assert given["--arms"].split(",") == ["random", "pretrained", *BASELINES[given["--task"]]]


def test_what_a_figure_depends_on_is_there(queue):
    for one in queue:
        assert all(list(results.ROOT.glob(pattern)) for pattern in one.depends), one.name
        assert results.fingerprint(one) == results.fingerprint(one)


def test_a_job_stands_until_its_command_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "KEPT", tmp_path)
    job = jobs.Job("one", ["-c", "print('{\"a\": 1}')"])
    assert not results.stands(job)
    results.do(job)
    assert results.stands(job) and json.loads((tmp_path / "one.json").read_text())["result"] == {"a": 1}
    assert not results.stands(jobs.Job("one", ["-c", "print('{\"a\": 2}')"]))
    results.do(jobs.Job("one", ["-c", "raise SystemExit(3)"]))
    assert results.stands(job)  # what failed leaves the former figure


def test_jobs_of_one_core_run_two_at_a_time(monkeypatch):
    told, running, lock = [], [], threading.Lock()

    def do(job):
        with lock:
            running.append(job)
            assert sum(one.cores for one in running) <= 2
        time.sleep(0.02)
        with lock:
            running.remove(job)
            told.append(job.name)

    monkeypatch.setattr(results, "do", do)
    own = [jobs.Job("a", [], cores=1), jobs.Job("b", [], cores=1), jobs.Job("c", [], cores=1, after=("a",))]
    results.do_all([jobs.Job("first", []), *own, jobs.Job("alone", []), jobs.Job("d", [], cores=1, after=("gone",))])
    assert (told[0], told[-2:]) == ("first", ["alone", "d"])
    assert told.index("c") > told.index("a")


def test_a_fault_in_a_job_beside_others_is_raised(monkeypatch):
    def do(job):
        raise ValueError(job.name)

    monkeypatch.setattr(results, "do", do)
    with pytest.raises(ValueError, match="a"):
        results.do_all([jobs.Job("a", [], cores=1), jobs.Job("b", [], cores=1)])


def test_the_network_of_a_run_is_kept_beside_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "KEPT", tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text('[model]\nshape = "wav2vec2"\nlayers = 4\nwidth = 256\nheads = 4\n')
    results.do(jobs.Job("one", ["-c", f'print(\'{{"folder": "{tmp_path}/run"}}\')']))
    network = {"shape": "wav2vec2", "layers": 4, "width": 256}
    assert json.loads((tmp_path / "one.json").read_text())["network"] == network
    assert "one: model.shape = wav2vec2, model.layers = 4, model.width = 256" in capsys.readouterr().out
    assert results.network_of([1]) == results.network_of({"folder": str(tmp_path)}) == {}


def test_methods_over_sound_are_compared_at_one_size(queue):
    made = [one.command for one in queue if one.name.startswith("speech-") and "pretrain" in one.command]
    assert len(made) == 4 and {words[words.index("--size") + 1] for words in made} == {"4x256"}
