"""`firth pretrain --objective next-token`, end to end: what goes with it, what a person named, going on, starting."""

import json

import numpy as np
import pytest
import torch

from firth.errors import InputError
from firth.functional.random import Draw
from firth.interop.folder import open_folder
from firth.model.init import spread_at
from firth.recipe import load_toml
from firth.starts import co_occurrence
from firth.train.loop import train
from firth.train.pretrain import pretrain, request
from firth.train.run import Run
from tests import contract, material, runs
from tests.test_writing import run as finished


def asked(*settings: str, config=None, **options):
    return request(["raw"], settings, config, **{key: options.get(key) for key in (
        "objective", "budget", "size", "source", "seed", "device")} | {"objective": "next-token"})  # fmt: skip


def text_of(*settings: str) -> dict:
    return asked(*settings).tables["text"]


# ------------------------------------------------------------------ what goes with it


def test_the_tokenizer_and_the_frame_follow_the_objective():
    assert text_of() == {"tokenizer": "bpe", "frame": "stream", "lowercase": False}
    assert text_of("text.tokenizer=characters")["tokenizer"] == "characters"
    assert text_of("text.lowercase=true") == {"lowercase": True, "tokenizer": "bpe", "frame": "stream"}
    assert "text" not in request(["raw"], (), None, **dict.fromkeys(
        ("objective", "budget", "size", "source", "seed", "device"))).tables  # fmt: skip


def test_units_that_keep_no_company_begin_at_random_unless_asked_for():
    assert asked().model.start == "co-occurrence"
    assert [asked(f"text.tokenizer={kind}").model.start for kind in ("characters", "bytes")] == ["random"] * 2
    assert asked("text.tokenizer=bytes", "model.start=co-occurrence").model.start == "co-occurrence"


def test_a_recipe_that_names_no_shape_gets_the_one_that_goes_with_it(tmp_path):
    (tmp_path / "gpt.toml").write_text('objective = ["next-token"]\n[data]\npaths = ["raw"]\n[model]\nsize = "2x32"\n')
    recipe = request((), (), tmp_path / "gpt.toml", **dict.fromkeys(
        ("objective", "budget", "size", "source", "seed", "device")))  # fmt: skip
    assert recipe.model.shape is None and recipe.tables["text"]["frame"] == "stream"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return material.write_corpus(tmp_path_factory.mktemp("raw"), 120)


def quick(corpus, out, *settings: str, **options):
    given = {"objective": "next-token", "size": "1x32", "budget": "4steps"} | options
    return pretrain([corpus], out=out, settings=[*runs.QUICK, "train.batch=4", *settings], **given)


def test_a_run_is_complete(tmp_path):
    place = finished()
    recipe, config = load_toml(place / "config.toml"), json.loads((place / "model" / "config.json").read_text())
    assert (recipe.model.shape, recipe.tables["text"]["tokenizer"]) == ("llama", "bpe")
    assert config["architectures"] == ["LlamaForCausalLM"] and config["eos_token_id"] == 0
    never = json.loads((place / "model" / "generation_config.json").read_text())["suppress_tokens"]
    assert never == [1, 2, 3]
    facts = json.loads((place / "run.json").read_text())["result"]
    assert set(facts["metrics"]) == {
        "loss", "next_token", "next_token_accuracy", "bits_per_byte", "next_token_perplexity",
    }  # fmt: skip
    assert facts["loss"] < facts["first_loss"] <= facts["random_loss"] + 0.1
    card = (place / "README.md").read_text()
    assert "AutoModelForCausalLM" in card and 'firth predict gpt "The film was"' in card and "adapt" not in card


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_other_tokenizers_and_the_other_shape(kind, corpus, tmp_path):
    result = quick(corpus, tmp_path / "run", f"text.tokenizer={kind}", "model.shape=gpt2", "next_token.infill_rate=0.5")
    opened = open_folder(tmp_path / "run")
    assert opened.shape.name == "gpt2" and opened.parts == {"next-token"} and result.metrics["bits_per_byte"] > 0
    assert opened.shape.vocabulary == (260 if kind == "bytes" else load_toml(tmp_path / "run" / "config.toml").tables[
        "next_token"]["vocabulary"])  # fmt: skip


def test_a_run_goes_on_from_a_run(corpus, tmp_path):
    first = open_folder(finished())
    result = quick(corpus, tmp_path / "more", source=finished(), size=None)
    opened = open_folder(tmp_path / "more")
    assert opened.shape == first.shape and result.first_loss < result.random_loss - 0.1
    facts = json.loads((tmp_path / "more" / "run.json").read_text())
    assert facts["weights"]["new"] == [] and facts["weights"]["unused"] == []


def test_masked_tokens_do_not_go_on_from_it(corpus, tmp_path):
    with pytest.raises(InputError, match="the tokenizer has no \\[MASK\\] token"):
        quick(corpus, tmp_path / "no", source=finished(), size=None, objective="masked-tokens")


# ------------------------------------------------------------------ one loop, one run


def losses(folder, steps: int, stop: int) -> tuple[list[float], dict]:
    """A run of so many steps over toy rows, stopped once after `stop` of them and taken up again."""
    found: list[float] = []
    for last in (stop, steps):
        run = toy(folder, steps)
        for step in train(run):
            found += [step.loss] if step.items else []
            if step.index == last:
                break
    return found, run.state_dict()


def toy(folder, steps: int) -> Run:
    from firth.data.sampler import Batches
    from firth.data.source import ListSource
    from tests.toy import recipe

    objective = contract.build(["next-token"], torch.float32, "llama")
    batches = Batches(ListSource(contract.samples(20)), contract.SIGNAL, objective.configs, 0, batch=4)
    return Run(objective, batches, recipe(steps, lr=1e-3, checkpoint_every=2), folder, None)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    whole, weights = losses(tmp_path / "one", 6, 6)
    twice, again = losses(tmp_path / "two", 6, 2)
    assert whole == twice and weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)


# ------------------------------------------------------------------ the start


class Rows:
    def __len__(self):
        return 60

    def get(self, indices, draw):
        return [contract.window(np.random.default_rng(int(i)), 24, int(i)) for i in indices]


@pytest.mark.parametrize("tied", [True, False])
def test_the_start_gives_an_output_map_of_its_own_the_same_rows(tied):
    form = contract.shape_of("llama", "tiny", contract.VOCABULARY, contract.CONTEXT, tied=tied)
    backbone = contract.Backbone(form, contract.SIGNAL.embed(form))
    part = contract.main_class("next-token")(contract.config_of("next-token"), backbone)
    objective = contract.Composed(backbone, {"next-token": part})
    contract.initialise(objective, form, 0)
    co_occurrence.start(objective, Rows(), Draw(0))
    rows = backbone.embed.word.weight
    assert rows.std().item() == pytest.approx(spread_at(form), rel=0.1)
    assert part.head.rows is rows if tied else torch.equal(part.head.rows, co_occurrence.OUTPUT * rows)


# ------------------------------------------------------------------ compiled blocks


def test_what_is_written_along_the_way_is_not_compiled(corpus, tmp_path, monkeypatch):
    seen = set()

    def compiled(graph, inputs):
        seen.update(tuple(one.shape) for one in inputs if isinstance(one, torch.Tensor) and one.dim() == 3)
        return graph.forward

    def compile_with(block):
        block._compiled_call_impl = torch.compile(block._call_impl, backend=compiled)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_with)
    result = quick(corpus, tmp_path / "run", "train.compile=on", "text.context=24")
    assert list((result.folder / "samples").glob("step-*.txt"))
    assert seen and {steps for _, steps, _ in seen} == {24}
