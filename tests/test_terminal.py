"""What a person sees: plain when piped, live on a terminal, without colour where that was asked for."""

import io
import json
import sys
from collections import namedtuple
from types import SimpleNamespace

import pytest

from firth.errors import InputError
from firth.evaluate.statistics import Interval
from firth.options import emit
from firth.report import plot, terminal
from firth.report.terminal import Terminal, plain, progress_line
from tests.comparisons import comparison, step


class Tty(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def piped():
    return Terminal(file=io.StringIO())


def text(shown: Terminal) -> str:
    return shown.out.getvalue()


def test_lines_stand_under_each_other(piped):
    piped.line("Data", "50,000 reviews · 11.6 M words")
    piped.line("Verdict", "it pays")
    assert text(piped) == "Data     50,000 reviews · 11.6 M words\nVerdict  it pays\n"


def test_what_a_file_is_called_is_no_markup(piped):
    piped.line("Data", "[bold]x[/bold] [MASK] \\[a] :smile:")
    piped.note("[red]note[/]")
    assert "[bold]x[/bold] [MASK]" in text(piped)
    assert "[red]note[/]" in text(piped)
    assert ":smile:" in text(piped)


def test_long_lines_are_not_broken_when_piped(piped):
    piped.line("Data", "word " * 100)
    assert text(piped).count("\n") == 1


def test_piped_progress_is_plain_and_sparse(piped, monkeypatch):
    clock = iter(range(0, 10_000, 1))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    for index in range(1, 101):
        piped.progress(step(index), None)
    lines = text(piped).splitlines()
    assert 18 <= len(lines) <= 22
    assert lines[-1].startswith("Train    100 % · step 100 of 100 · loss 5.000")
    assert "\r" not in text(piped) and "\x1b" not in text(piped)


def test_live_progress_redraws_one_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal(file=Tty())
    for index in (1, 50, 100):
        shown._drawn = 0.0
        shown.progress(step(index), None)
    shown.line("Result", "done")
    assert text(shown).count("\r") == 3
    drawn = text(shown).split("\r")[-1]
    assert drawn.startswith("Train    100 %") and "\n" in drawn and "Result" in drawn


def test_a_line_in_the_middle_wipes_the_live_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal(file=Tty())
    shown.progress(step(1), None)
    shown.note("saved")
    assert "\r" + " " * 10 in text(shown)


def test_no_colour_is_respected(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Terminal(file=Tty())
    coloured.line("Data", "x")
    assert "\x1b[" in text(coloured) and "36m" in text(coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    bare = Terminal(file=Tty())
    bare.line("Data", "x")
    assert "36m" not in text(bare)


def test_progress_says_where_it_is_and_how_long_it_takes():
    assert progress_line(step(40, loss=5.31), 10.0) == (
        "Train     40 % · step 40 of 100 · loss 5.310 · 20,480 items/s · 15 s left"
    )
    assert progress_line(step(100), 7.4).endswith("· 7 s")
    assert progress_line(step(60), 10.0, begun=50).endswith("40 s left")
    assert progress_line(step(1, steps=1001), 1.0).endswith("17 min left")
    assert progress_line(step(1, steps=10_001), 1.0).endswith("2.8 h left")


@pytest.mark.parametrize(
    ("items", "unit", "said"),
    [
        (2048, "tokens", "20,480 tokens/s"),
        (256, "images", "2,560 images/s"),
        (31, "audio-seconds", "310 audio-seconds/s"),
        (0.75, "audio-seconds", "7.5 audio-seconds/s"),
    ],
)
def test_the_rate_is_counted_as_the_signal_counts(piped, items, unit, said):
    assert said in progress_line(step(40, items=items), 10.0, unit=unit)
    piped.progress(step(100, items=items), SimpleNamespace(unit=unit, resumed=0))
    assert said in text(piped)


def test_a_comparison_is_drawn_and_judged(piped):
    found = comparison()
    piped.result(found)
    shown = text(piped)
    assert "validation loss (nats) against steps, 200 labels, mean of seeds" in shown
    assert "validation accuracy against steps" in shown
    assert f"Verdict  {found.verdict}" in shown
    assert found.sentences[-1] in shown
    for title in found.titles.values():
        assert title in shown
    assert max(map(len, shown.splitlines())) < 230
    table = [line for line in shown.splitlines() if "│" in line and "Random" in line]
    assert len(table) == 1 and f"{100 * found.accuracy('random', 200).mean:.1f} %" in table[0]


def test_one_seed_shows_no_interval(piped):
    piped.result(comparison(seeds=1))
    assert "–" in text(piped) and "nan" not in text(piped)


def test_a_result_without_verdict_adds_nothing(piped):
    piped.result(object())
    assert text(piped) == ""


def test_errors_have_three_parts_on_stderr(capsys):
    Terminal().error(InputError("reviews.tsv:10:3", "label `postive` is none of a, b.", "Did you mean `positive`?"))
    printed = capsys.readouterr()
    assert printed.err == "reviews.tsv:10:3: label `postive` is none of a, b.\nDid you mean `positive`?\n"
    assert printed.out == ""


Guess = namedtuple("Guess", "text label probability")


def test_predictions_are_json_lines_when_piped_and_lines_on_a_terminal(monkeypatch):
    found = [Guess("a [fine] film", "positive", 0.981)]
    piped = Terminal(file=io.StringIO())
    piped.predictions(iter(found))
    assert json.loads(text(piped)) == {"text": "a [fine] film", "label": "positive", "probability": 0.981}
    monkeypatch.setenv("NO_COLOR", "1")
    shown = Terminal(file=Tty())
    shown.predictions(iter(found))
    assert "positive" in text(shown) and "98.1 %  a [fine] film" in text(shown)


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ({"text": "the [a] ship", "words": ["the", "[a]", "ship"], "tags": ["DET", "[x]", "NOUN"]},
         "the/DET [a]/[x] ship/NOUN"),
        ({"text": "Who [is] it?", "answer": "Anna [B]", "probability": 0.5}, "Anna [B]  50.0 %  Who [is] it?"),
        ({"text": "Who?", "answer": "", "probability": 0.031}, "no answer   3.1 %  Who?"),
        ({"text": "a | [b]", "number": -3.14159}, "   -3.14  a | [b]"),
        ({"filled": "the [MASK]"}, '{"filled": "the [MASK]"}'),
    ],
)  # fmt: skip
def test_each_kind_of_prediction_has_its_line_on_a_terminal(monkeypatch, value, line):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    shown = Terminal(file=Tty())
    shown.predictions([value])
    assert text(shown) == line + "\n"


def test_candidates_in_a_prediction_keep_their_names(piped):
    Candidate, Answer = namedtuple("Candidate", "text score"), namedtuple("Answer", "answer best")
    piped.predictions([Answer("Anna", [Candidate("Anna", 2.0), Candidate("Berg", 1.0)])])
    best = [{"text": "Anna", "score": 2.0}, {"text": "Berg", "score": 1.0}]
    assert json.loads(text(piped)) == {"answer": "Anna", "best": best}
    assert plain(Answer("x", [["a", 1]])) == {"answer": "x", "best": [["a", 1]]}


def test_figures_are_shares_numbers_and_counts(piped):
    piped.figures({
        "task": "tag", "items": 12345, "accuracy": 0.9876, "pearson": 0.5, "matthews": -0.25, "span_f1": 1.0,
        "mean_absolute_error": 0.125, "confusion": [[1]], "missing": ["q1", "q2"], "classes": ["a"],
        "types": {"LOC": {"f1": 0.5, "support": 3}}, "no_answer": {"exact": 0.25},
    })  # fmt: skip
    assert [line.strip() for line in text(piped).splitlines()] == [
            "task                 tag", "items                12,345", "accuracy             98.76 %",
            "pearson              0.500", "matthews             -0.250", "span f1              100.00 %",
            "mean absolute error  0.125", "missing              2, counted as wrong", "LOC f1               50.00 %",
            "LOC support          3", "no answer exact      25.00 %",
    ]  # fmt: skip


def test_what_is_not_known_is_null_as_json_has_no_other_word_for_it(tmp_path, piped, capsys):
    """One text has no interval, and a perplexity may be beyond all numbers."""
    found = {"bits": Interval(2.0, float("nan"), float("nan"), 1)._asdict(), "each": [float("inf"), 1, "NaN"], 5: None}
    piped.keep(found, tmp_path / "found.json")
    emit(True, found)
    for kept in ((tmp_path / "found.json").read_text(encoding="utf-8"), capsys.readouterr().out):
        assert json.loads(kept, parse_constant=pytest.fail) == {
            "bits": {"mean": 2.0, "low": None, "high": None, "seeds": 1}, "each": [None, 1, "NaN"], "5": None,
        }  # fmt: skip


def test_a_result_is_kept_as_json(tmp_path, piped):
    piped.keep({"accuracy": 0.5, "gold": "ä"}, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text(encoding="utf-8")) == {"accuracy": 0.5, "gold": "ä"}
    assert text(piped) == f"Saved    {tmp_path / 'found.json'}\n"


def test_predictions_go_into_a_file(tmp_path, piped):
    piped.predictions([{"label": "ä"}, {"label": "b"}], tmp_path / "found.jsonl")
    assert (tmp_path / "found.jsonl").read_text(encoding="utf-8") == '{"label": "ä"}\n{"label": "b"}\n'
    assert "found.jsonl" in text(piped)


def test_json_keeps_stdout_for_the_result(capsys):
    shown = Terminal(json=True)
    shown.line("Data", "x")
    shown.predictions([{"label": "a"}])
    printed = capsys.readouterr()
    assert printed.out == '{"label": "a"}\n'
    assert "Data" in printed.err


def test_what_cannot_be_printed_is_named():
    with pytest.raises(InputError) as caught:
        plain(3)
    assert str(caught.value) == "int: is nothing that can be printed. Give a prediction or a mapping."


def test_a_table_has_numbers_on_the_right(piped):
    piped.table("Runs", ["name", "loss"], [["reviews", 4.12], ["a", 10]])
    lines = text(piped).splitlines()
    assert lines[0].strip() == "Runs"
    assert any(line.rstrip("│ ").endswith("4.12") for line in lines)


# ------------------------------------------------------------------ curves in text


def test_curves_go_where_their_points_are():
    drawing = plot.draw([plot.Curve("down", [0, 10], [1.0, 0.0])], width=11, height=11)
    assert [row.index(0) for row in drawing.marks] == list(range(11))
    assert (drawing.low, drawing.high, drawing.begin, drawing.end) == (0.0, 1.0, 0, 10)


def test_a_drawing_has_title_axes_units_and_legend():
    curves = [plot.Curve("random", [0, 100], [0.69, 0.65]), plot.Curve("pre-trained", [0, 100], [0.69, 0.5])]
    found = plot.lines(curves, "validation loss (nats)", "steps", width=40, height=8)
    assert found[0].strip() == "validation loss (nats)"
    assert found[1].startswith("    0.690 ┤")
    assert found[8].startswith("    0.500 ┤")
    assert found[-2].strip().startswith("0") and found[-2].endswith("100 steps")
    assert found[-1].strip() == "o random   * pre-trained"


def test_flat_empty_and_broken_curves_are_drawn():
    assert plot.draw([plot.Curve("flat", [0, 1], [1.0, 1.0])], 5, 5).marks[2] == [0] * 5
    assert plot.draw([], 4, 3).marks == [[-1] * 4] * 3
    holes = plot.Curve("x", [0, 1, 2], [1.0, float("nan"), 2.0])
    assert plot.at(holes, 1.0) == 1.5
    assert plot.at(holes, 3.0) is None
    assert plot.at(plot.Curve("one", [2], [5.0]), 2) == 5.0


def test_shorter_curves_end_where_they_end():
    drawing = plot.draw([plot.Curve("half", [0, 5], [1.0, 0.0]), plot.Curve("whole", [0, 10], [1.0, 0.0])], 11, 11)
    assert not any(0 in row[6:] for row in drawing.marks)


def test_stdout_is_the_default():
    assert Terminal().out is sys.stdout


# ------------------------------------------------------------------ what takes long and is no training


def test_what_is_done_soon_shows_no_count(piped):
    for done in range(11):
        piped.count("Scored", done, 10)
    assert text(piped) == ""


def test_a_count_says_how_much_is_left_by_what_was_done_in_this_sitting(piped, monkeypatch):
    clock = iter(range(100, 10_000, 3))
    monkeypatch.setattr(terminal.time, "monotonic", lambda: float(next(clock)))
    for done in (400, 500, 600, 1000):
        piped.count("Scored", done, 1000, 400)
    assert text(piped) == "Scored    60 % · 600 of 1,000 · 12 s left\n"


def test_a_live_count_is_gone_once_all_is_done(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown = Terminal(file=Tty())
    shown.count("Scored", 0, 8)
    assert text(shown) == "\rScored     0 % · 0 of 8"
    shown.count("Scored", 8, 8)
    shown.line("Result", "done")
    assert "\r" + " " * len("Scored     0 % · 0 of 8") + "\r" in text(shown)


def test_a_table_wider_than_the_terminal_is_told_in_parts_whose_rows_keep_their_names():
    columns = ["", *(f"digits-unheard {number} accuracy" for number in range(8))]
    rows = [["speech-next-frame, random weights", *["36.3 ± 9.2"] * 8]]
    places = terminal.beside(columns, rows, 100)
    assert len(places) > 1 and all(part[0] == 0 and len(part) > 1 for part in places)
    assert [place for part in places for place in part[1:]] == list(range(1, 9))
    assert terminal.beside(columns, rows, 400) == [list(range(9))]
    assert terminal.beside([], [], 100) == [[]] and terminal.beside(columns, rows, 40) == [list(range(9))]
    shown = Terminal(file=io.StringIO())
    shown.console.width = 100
    shown.table("Many", columns, rows)
    found = text(shown)
    assert found.count("speech-next-frame, random weights") == len(places) and found.count("36.3 ± 9.2") == 8
    assert found.count("Many") == 1 and "…" not in found
