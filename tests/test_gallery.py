"""What a run leaves to look at, and how it stands in the report: pictures, a map, curves of the vectors."""

import io
import json
import re
from base64 import b64decode
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.functional.neighbours import nearest
from firth.objective import Objective
from firth.report import html, pictures, run_page
from firth.train import gallery
from firth.train.card import write as write_card
from firth.train.folder import RunFolder
from firth.train.pretrain import Result, describe
from firth.train.watch import Watch
from tests.digit_pictures import Pictures, composed, source
from tests.runs import folder as finished

Image = pytest.importorskip("PIL.Image")


class Pooling(Objective):
    vectors = True


class Unseen(Pictures):
    def picture(self, sample):
        return None


def watch(signal=None, labelled=True, held_out=40):
    model = composed(Pooling)
    return Watch(model, signal or Pictures(), source(0, 120, labelled), source(200, 200 + held_out, labelled), 0, "cpu")


def written(place, signal=None, **options):
    signal = signal or Pictures()
    gallery.write(watch(signal, **options), signal, source(0, 120), place / "samples", 0, "cpu")
    return place / "samples"


# ------------------------------------------------------------------ the files


def test_rows_are_held_out_samples_beside_the_nearest_training_samples():
    found, signal = watch(), Pictures()
    vectors, known = (gallery.encoded(found.objective, signal, part, "cpu")[0] for part in (found.held_out, found.bank))
    rows = gallery.beside(found.objective, signal, found.held_out, vectors, found.bank, "cpu")
    assert len(rows) == 8 and {len(row) for row in rows} == {8}
    assert rows[0][0] is found.held_out[0] and rows[-1][0] is found.held_out[-1]
    places = nearest(known, vectors[-1:], 7).place[0].tolist()
    assert [one.key for one in rows[-1][1:]] == [found.bank[i].key for i in places]


def test_the_picture_and_the_map_are_written(tmp_path):
    place = written(tmp_path)
    picture = np.asarray(Image.open(place / "neighbours.png"))
    assert picture.shape == (8 * 50 + 2, 8 * 50 + 2, 3)
    kept = json.loads((place / "map.json").read_text())
    assert len(kept["points"]) == len(kept["labels"]) == 40 and set(kept["labels"]) <= set(range(10))
    assert 0 < sum(kept["shares"]) <= 1


def test_what_cannot_be_seen_has_a_map_alone(tmp_path):
    place = written(tmp_path, Unseen(), labelled=False)
    assert [path.name for path in place.iterdir()] == ["map.json"]
    assert set(json.loads((place / "map.json").read_text())["labels"]) == {None}


def test_a_run_that_is_not_watched_leaves_nothing(tmp_path):
    silent = Watch(composed(Objective), Pictures(), source(0, 9), source(9, 20), 0, "cpu")
    gallery.write(silent, Pictures(), source(0, 9), tmp_path / "samples", 0, "cpu")
    assert not (tmp_path / "samples").exists()


def test_a_grid_enlarges_small_pictures_and_keeps_large_ones():
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = gallery.grid([[small, small], [small]])
    assert found.shape == (2 + 2 * 50, 2 + 2 * 50, 3)
    assert (found[2:26, 2:26] == small[0, 0]).all() and (found[52:100, 52:100] == 255).all()
    assert gallery.grid([[np.zeros((60, 50, 3), np.uint8)]]).shape == (64, 54, 3)


# ------------------------------------------------------------------ the page


def test_pictures_stand_in_the_page_as_data(tmp_path):
    place = written(tmp_path)
    [one] = pictures.of(place)
    assert one["title"] == "Neighbours" and one["about"].startswith("Left, a held-out sample;")
    data = b64decode(one["uri"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(data)).size == (402, 402)
    (place / "large.png").write_bytes(b"\0" * (pictures.LARGEST + 1))
    assert len(pictures.of(place)) == 1 and pictures.of(tmp_path / "none") == []


def test_of_pictures_made_along_the_way_a_few_are_shown_in_order(tmp_path):
    for name in ("views", *(f"step-{step}" for step in range(0, 110, 10))):
        Image.new("RGB", (2, 2)).save(tmp_path / f"{name}.png")
    titles = [one["title"] for one in pictures.of(tmp_path)]
    assert titles == ["Step 0", "Step 30", "Step 70", "Step 100", "Views"]


def test_the_map_names_classes_and_lies_within_its_frame(tmp_path):
    found = pictures.map_of(written(tmp_path), [f"digit {i}" for i in range(10)])
    assert all(0 <= dot["x"] <= found["width"] and 0 <= dot["y"] <= found["height"] for dot in found["dots"])
    assert {dot["name"] for dot in found["dots"]} <= {f"digit {i}" for i in range(10)}
    assert found["about"].startswith("Map of 40 held-out samples: the two directions of most variance, which hold ")
    assert (1, "digit 0") in found["legend"] and pictures.map_of(tmp_path) is None


def test_samples_without_labels_are_called_samples(tmp_path):
    found = pictures.map_of(written(tmp_path, labelled=False))
    assert {(dot["name"], dot["style"]) for dot in found["dots"]} == {("sample", 0)} and found["legend"] == []


def test_a_curve_for_each_thing_that_is_read():
    rows = [{"step": n, "vectors": {"rank": 9.0 + n, "compared_rank": 4.0, "spread": 0.5}} for n in (0, 10)]
    titles = {chart["title"]: [line["name"] for line in chart["lines"]] for chart in pictures.curves(rows)}
    assert titles == {
        "Rank of the vectors": ["encoder", "what the loss compares"],
        "Spread of the vectors": ["encoder"],
    }
    assert pictures.curves(rows[:1]) == [] and pictures.curves([{"step": 1, "loss": 2.0}]) == []


def test_the_report_shows_them_with_no_request_to_anywhere(tmp_path):
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    written(run)
    rows = [{"step": n, "held_out": {"loss": 1.0}, "vectors": {"rank": 9.0}} for n in (0, 10)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = html.write_run(run).read_text()
    assert "What it sees" in text and "data:image/png;base64," in text and "Map of held-out samples" in text
    assert not re.search(r'(?:src|href)="(?!data:|#)', text) and "Rank of the vectors" in text


# ------------------------------------------------------------------ a collapse is told wherever the result is

TOLD = "step 40: collapse: rank of the vectors 1.1 (31 before the first step). Likely cause: x. Set y=1."


def result(place, **changes):
    return Result(place, metrics={"loss": 0.1}, vectors={"rank": 1.1, "spread": 0.01}, collapse=TOLD, **changes)


def test_the_result_line_says_so_first(tmp_path):
    assert describe(result(tmp_path)).startswith(f"COLLAPSED, {TOLD} · loss 0.10 · rank 1.1 · spread 0.01 · ")


def test_the_card_says_so_first(tmp_path):
    run = RunFolder(tmp_path)
    write_card(run, RunFolder(finished() / "pretrained").recipe, result(tmp_path), "data", "A model")
    text = run.card.read_text()
    assert f"**This run collapsed; its vectors tell samples apart hardly or not at all.** {TOLD}" in text
    assert "| rank | 1.100 |" in text and text.index(TOLD) < text.index("Pre-trained by firth")


def test_the_report_says_so_first_and_in_red(tmp_path):
    facts = {"status": "finished", "result": result(tmp_path).as_dict()}
    assert run_page.verdict(facts).startswith(f"This run collapsed, {TOLD} Held-out loss 0.100 · rank 1.1")
    run = SimpleNamespace(status="finished")
    assert run_page.tone(run, facts) == "bad" and run_page.tone(run, {"result": {}}) == "good"


def test_vectors_on_a_device_are_mapped():
    places = gallery.encoded(composed(Pooling), Pictures(), source(0, 4).samples, torch.device("cpu"))[0]
    assert places.device.type == "cpu" and places.dtype == torch.float32
