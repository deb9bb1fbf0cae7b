"""Next-sentence pairs of a real little corpus: their statistics, and two processes that train on them as one does."""

import json
import multiprocessing
import os
import random
import socket
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from firth import distributed
from firth.data.corpus import Corpus
from firth.functional.random import Draw
from firth.objectives.next_sentence import OTHER, TRUE
from firth.recipe import Data, Model, Optimizer, Recipe, Train, with_table
from firth.train import build
from firth.train.loop import train
from firth.train.run import Run
from tests import material

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "safetensors.torch", "pydantic", "pytest", "tokenizers"])
STEPS, BATCH = 4, 9
MORE = ["", " again", " once more before night", " with care and little wind"]


def recipe_of(folder: Path) -> Recipe:
    """Double precision, no dropout, both objectives, a batch that two ranks cannot halve."""
    made = Recipe(
        objective=("next-sentence", "masked-tokens"),
        data=Data(paths=(str(folder / "corpus.txt"),), held_out=0.2),
        model=Model(shape="bert", layers=2, width=32, heads=2, dropout=0.0, start="random"),
        optimizer=Optimizer(lr=1e-3, clip=0.5),
        train=Train(steps=STEPS, batch=BATCH, precision="fp64", evaluate_every=2, evaluate_samples=20, threads=1),
    )
    return with_table(made, "text", {"vocabulary": 300, "context": 32})


@cache
def folder() -> Path:
    place = Path(mkdtemp(prefix="firth-pairs-"))
    words = random.Random(0)
    texts = [text.replace(".", f" {words.choice(MORE)}.") for text in material.documents(150)]
    texts = [". ".join(s + words.choice(MORE) for s in text.split(". ")) for text in texts]
    (place / "corpus.txt").write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    return place


@cache
def corpus() -> Corpus:
    os.environ["FIRTH_CACHE"], former = str(folder() / "cache"), os.environ.get("FIRTH_CACHE", "")
    try:
        return build.open_data(recipe_of(folder()))
    finally:
        os.environ["FIRTH_CACHE"] = former


def run_of(recipe: Recipe, found: Corpus) -> Run:
    recipe = build.fill(recipe, found.signal)
    train_, held_out = (side(context=32, **build.rows_of(recipe)) for side in (found.train, found.held_out))
    batches, valid = (build.batches_of(recipe, found.signal, source) for source in (train_, held_out))
    return Run(build.compose(recipe, found.signal), batches, recipe, None, valid, evaluate_first=True)


# ------------------------------------------------------------------ statistics over the split


@cache
def pairs() -> list:
    """(sample, arranged) over three epochs of the training part."""
    source = corpus().train(rows="documents", context=32, partner=True)
    config = build.configs_of(recipe_of(folder()))["next-sentence"]
    found = []
    for epoch in range(3):
        samples = source.get(np.arange(len(source)), Draw(0, epoch))
        found += zip(samples, config.arrange(samples, Draw(0, epoch)), strict=True)
    return found


def label(arranged) -> int:
    return int(arranged.targets["next_sentence"])


def test_half_of_the_pairs_go_on():
    labels = Counter(label(arranged) for _, arranged in pairs())
    seen = labels[TRUE] + labels[OTHER]
    assert seen > 0.9 * len(pairs())
    assert labels[TRUE] / seen == pytest.approx(0.5, abs=4 * 0.5 / seen**0.5)


def test_a_partner_is_never_of_the_same_document():
    shard = corpus().shard("train")
    documents = [shard.document(number).tolist() for number in range(shard.documents)]
    texts = {tuple(document[i : i + 3]) for document in documents for i in range(len(document) - 2)}
    for sample, _ in pairs()[:200]:
        assert sample.partner.key != sample.key
        assert tuple(sample.partner.parts[0][:3].tolist()) in texts


def test_all_documents_are_partners_and_none_much_more_than_others():
    counts = Counter(sample.partner.key for sample, _ in pairs())
    windows = len(pairs()) / 3
    assert len(counts) > 0.8 * windows
    assert max(counts.values()) < 6 * len(pairs()) / windows


def test_partners_change_from_epoch_to_epoch():
    count = len(pairs()) // 3
    first, second = pairs()[:count], pairs()[count : 2 * count]
    same = sum(one[0].partner.key == two[0].partner.key for one, two in zip(first, second, strict=True))
    assert same < 0.1 * count
    assert all(one[0].key == two[0].key for one, two in zip(first, second, strict=True))


def test_lengths_do_not_give_the_answer_away():
    lengths = {TRUE: [], OTHER: []}
    for _, arranged in pairs():
        if label(arranged) in lengths:
            lengths[label(arranged)].append(len(arranged.parts[1]))
    true, other = (np.array(lengths[kind]) for kind in (TRUE, OTHER))
    spread = np.sqrt(true.var() / len(true) + other.var() / len(other))
    assert abs(true.mean() - other.mean()) < 4 * spread


def test_true_pairs_are_the_window_and_others_share_its_first_part():
    for sample, arranged in pairs():
        if label(arranged) not in (TRUE, OTHER):
            continue
        first, second = arranged.parts
        window = sample.parts[0].tolist()
        assert window[: len(first)] == first.tolist()
        goes_on = window[len(first) : len(first) + len(second)] == second.tolist()
        assert goes_on or label(arranged) == OTHER


def test_every_pair_fits_the_context_unshortened():
    signal = corpus().signal
    assert all(sum(map(len, arranged.parts)) + 3 <= 32 for _, arranged in pairs() if len(arranged.parts) == 2)
    batch = signal.stack([arranged for _, arranged in pairs()[:50]])
    assert batch["tokens"].shape[1] <= 32 and set(batch["segments"].unique().tolist()) == {0, 1}


# ------------------------------------------------------------------ two processes are one


def as_rank(rank: int, port: int, place: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["FIRTH_CACHE"] = str(Path(place) / "cache")
    distributed.start_from_environment()
    recipe = recipe_of(Path(place))
    run = run_of(recipe, build.open_data(recipe))
    steps = [told(step) for step in train(run)]
    Path(place, f"{rank}.json").write_text(json.dumps(steps))
    save_file(run.state_dict(), Path(place, f"{rank}.safetensors"))
    distributed.finish()


def told(step) -> list:
    return [step.index, step.loss, step.gradient_norm, step.items, step.evaluation, step.metrics]


def test_two_processes_train_as_one_on_real_text():
    run = run_of(recipe_of(folder()), corpus())
    expected = [told(step) for step in train(run)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [CONTEXT.Process(target=as_rank, args=(rank, port, str(folder()))) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    first, second = (json.loads((folder() / f"{rank}.json").read_text()) for rank in (0, 1))
    weights = load_file(folder() / "0.safetensors")
    assert [row[:4] for row in first] == [row[:4] for row in second]
    assert len(expected) == STEPS + 1 and {"next_sentence", "masked_tokens"} <= set(expected[1][5])
    for ours, theirs in zip(expected, first, strict=True):
        assert (ours[0], ours[3]) == (theirs[0], theirs[3])
        assert theirs[1:3] == pytest.approx(ours[1:3], rel=1e-9)
        assert theirs[4] == (pytest.approx(ours[4], rel=1e-9) if ours[4] else None)
        assert theirs[5] == pytest.approx(ours[5], rel=1e-9)
    for name, tensor in run.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-7)
