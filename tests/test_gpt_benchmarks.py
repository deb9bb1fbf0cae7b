"""What the benchmarks of next tokens measure by: the same data on both sides, the peer's rates, the scores."""

import json
from argparse import Namespace
from math import cos, log, pi
from pathlib import Path

import numpy as np
import pytest

from benchmarks import generation, gpt_peers, next_token, streams
from firth.recipe import load_toml
from firth.train.schedule import factor
from tests.material import documents

CHARACTERS = {"tokenizer": "characters", "context": 16}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "text.txt").write_text("\n".join(documents(60)))
    streams.prepare(folder / "text.txt", folder, CHARACTERS, {"document": "file", "duplicates": "keep"}, None)
    return folder


def test_both_sides_read_the_same_stream_and_its_end_is_held_out(work):
    from firth.signals.text import Text

    signal, train = Text.open(work / "tokenizer"), np.load(work / "train.npy")
    held = np.load(work / "held_out.npy")
    text = (work / "text.txt").read_text()
    assert text.startswith(signal.decode(train).replace("\n", "")[:40])
    assert held.shape[1] == 17 and np.array_equal(held[1:, 0], held[:-1, -1])
    assert len(held) == pytest.approx(0.1 * len(text) / 16, rel=0.1)
    assert signal.decode(held[0, 1:]) in text[int(0.88 * len(text)) :]


def test_the_peers_rates_are_those_of_the_recipe():
    recipe = load_toml("nanogpt-shakespeare")
    for step in (0, 50, 99, 100, 700, 1999):
        ours = recipe.optimizer.lr * factor(
            recipe.train.schedule, step, 2000, recipe.train.warmup, 0, recipe.train.floor
        )
        assert ours == pytest.approx(gpt_peers.rate(step, 2000))
    assert gpt_peers.rate(1050, 2000) == pytest.approx(1e-4 + 0.5 * (1 + cos(pi / 2)) * 9e-4)


def test_the_peers_model_is_as_large_as_the_recipes():
    from firth.model.sizes import shape_of

    shape = shape_of("gpt2", "4x128", 68, 64, heads=4, intermediate=512)
    config = gpt_peers.small_gpt(68).config
    assert (config.n_layer, config.n_embd, config.n_head, config.n_positions) == (4, 128, 4, 64)
    assert shape.intermediate == 4 * config.n_embd and shape.positions == config.n_positions


def test_a_score_is_the_mean_loss_of_transformers(work, tmp_path):
    import torch

    torch.manual_seed(0)
    model = gpt_peers.small_gpt(json.loads((work / "facts.json").read_text())["vocabulary"])
    model.save_pretrained(tmp_path / "model")
    found = streams.score(tmp_path / "model", work)
    rows = torch.from_numpy(np.load(work / "held_out.npy").astype(np.int64))[:, :17]
    with torch.no_grad():
        loss = model.eval()(input_ids=rows[:, :-1]).logits.log_softmax(-1).gather(2, rows[:, 1:, None]).mean()
    assert found["loss"] == pytest.approx(-float(loss), abs=1e-4)
    assert found["positions"] == rows[:, 1:].numel() and found["loss"] < 2 * log(68)


def test_rows_of_trainer_are_the_stream_in_order(work):
    rows = gpt_peers.Rows(work, 16)
    assert (
        np.concatenate([rows[i]["input_ids"] for i in range(3)]).tolist() == np.load(work / "train.npy")[:48].tolist()
    )
    assert rows[1]["labels"] == rows[1]["input_ids"] and len(rows) == len(np.load(work / "train.npy")) // 16


def test_the_peers_llama_is_as_large_as_firths(work):
    from transformers import LlamaConfig

    from firth.interop.folder import shape_from
    from firth.model.sizes import shape_of

    asked = next_token.llama(work)
    found = shape_from(LlamaConfig(**asked).to_dict(), work)
    ours = shape_of("llama", "4x256", vocabulary=asked["vocab_size"], positions=128)
    names = ("layers", "width", "heads", "groups", "intermediate", "tied", "vocabulary", "positions")
    assert [getattr(found, name) for name in names] == [getattr(ours, name) for name in names]


def test_firths_arms_are_commands_that_can_be_read():
    from typer.main import get_command

    from firth.cli import app

    known = {name for p in get_command(app).commands["pretrain"].params for name in p.opts}
    for setting in next_token.ARMS:
        given = Namespace(setting=setting, steps=50, budget=9.0, threads=1, text="a.txt", settings=["seed=1"])
        words = next_token.own(given, Path("out"), 0)
        assert {word for word in words if word.startswith("--")} <= known
        assert words[3] == "pretrain"


def test_both_writers_write_the_same(tmp_path):
    given = Namespace(shape="llama", size="2x32", prompt=5, tokens=6)
    folder = generation.random_model(tmp_path / "model", given)
    prompts = np.random.default_rng(0).integers(5, 8192, (3, 5))
    _, one = generation.measured(generation.ours(folder, 12), prompts, 6)
    speed, two = generation.measured(generation.theirs(folder), prompts, 6)
    assert one.shape == (3, 6) and np.array_equal(one, two) and speed > 0
