"""From raw files to a model folder, on a corpus of a few hundred sentences."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from firth.data.cache import cache_folder
from firth.errors import InputError
from firth.recipe import load_toml
from firth.train import budget, checkpoint, plan, probe
from firth.train.folder import RunFolder
from firth.train.log import Recorded, read_metrics
from firth.train.pretrain import default_place, pretrain, request
from tests.material import write_corpus

SMALL = [
    "data.held_out=0.1",
    "text.vocabulary=120",
    "text.context=32",
    "model.size=2x32",
    "train.evaluate_samples=32",
    "train.threads=1",
]


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path, 120)


@pytest.fixture(autouse=True)
def short_probes(monkeypatch):
    """Measuring is tested for what it does, not for how well it measures."""
    monkeypatch.setattr(probe, "time_steps", lambda stepper, limit: ([0.01], [next(stepper).items]))


def small(corpus, out, budget_="12steps", more=(), **options):
    return pretrain([corpus], out=out, budget=budget_, settings=[*SMALL, *more], **options)


def weights(folder) -> dict[str, torch.Tensor]:
    found = load_file(Path(folder) / "model" / "model.safetensors")
    return found


def assert_equal_weights(one, two) -> None:
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def text_of(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    return str(caught.value)


# ------------------------------------------------------------------ a run


def test_a_run_leaves_everything_a_person_keeps(corpus, tmp_path):
    show = Recorded()
    result = small(corpus, tmp_path / "run", more=["train.evaluate_every=6"], show=show)
    folder = RunFolder(tmp_path / "run")
    assert result.steps == 12 and result.loss > 0 and 0 <= result.accuracy <= 1 and result.tokens > 1000
    names = {"README.md", "config.toml", "run.json", "metrics.jsonl", "train.log", "samples", "checkpoints", "model"}
    assert names <= {path.name for path in folder.path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in folder.model.iterdir()}
    assert [line.split()[0] for line in show.lines if line[0].isupper()][1:] == [
        "Data", "Model", "Weights", "Begin", "Plan", "Machine", "Result", "Saved", "Next",
    ]  # fmt: skip
    rows = read_metrics(folder.metrics)
    assert [row["step"] for row in rows if "held_out" in row] == [0, 6, 12]
    assert [row["step"] for row in rows if "lr" in row] == list(range(1, 13))
    assert len((folder.samples / "step-12.txt").read_text().splitlines()) == 5
    assert "[MASK]" in (folder.samples / "step-0.txt").read_text()
    assert "Plan" in folder.log.read_text() and "held-out" in folder.log.read_text()


def test_the_facts_of_a_run(corpus, tmp_path):
    result = small(corpus, tmp_path / "run")
    facts = RunFolder(tmp_path / "run").facts
    assert facts["status"] == "finished" and facts["seed"] == 0
    assert facts["data"]["documents"] == 120 and len(facts["data"]["fingerprint"]) >= 16
    assert facts["versions"]["torch"] and facts["machine"]["cores"] >= 1
    assert facts["plan"]["steps"] == 12 and facts["result"]["loss"] == result.loss
    assert facts["random_loss"]["loss"] == pytest.approx(4.8, abs=0.3)  # ln 120
    assert facts["first_loss"]["loss"] < facts["random_loss"]["loss"]  # the co-occurrence start knows frequencies
    assert json.dumps(result.as_dict())


def test_the_saved_recipe_is_complete(corpus, tmp_path):
    small(corpus, tmp_path / "run")
    recipe = load_toml(tmp_path / "run" / "config.toml")
    assert recipe.train.steps == 12 and recipe.train.batch == 16 and recipe.optimizer.lr == 1e-3
    assert "auto" not in (recipe.train.precision, recipe.train.attention, recipe.train.compile)
    assert recipe.train.threads and recipe.train.evaluate_every and recipe.train.checkpoint_every
    assert (recipe.model.layers, recipe.model.width) == (2, 32) and recipe.model.heads
    assert recipe.tables["masked_tokens"]["vocabulary"] <= 120 and recipe.tables["text"]["context"] == 32


def test_the_saved_config_repeats_the_run_bit_for_bit(corpus, tmp_path):
    small(corpus, tmp_path / "one")
    pretrain(config=tmp_path / "one" / "config.toml", out=tmp_path / "two")
    assert_equal_weights(tmp_path / "one", tmp_path / "two")


def test_transformers_opens_the_model(corpus, tmp_path):
    transformers = pytest.importorskip("transformers")
    small(corpus, tmp_path / "run")
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "run" / "model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert model(**tokenizer("The ship [MASK] the tide.", return_tensors="pt")).logits.shape[-1] == len(tokenizer)


def test_two_objectives_in_one_run_get_the_shape_with_segments(corpus, tmp_path):
    result = small(corpus, tmp_path / "run", objective="next-sentence,masked-tokens")
    assert {"next_sentence", "masked_tokens", "next_sentence_accuracy"} <= result.metrics.keys()
    assert load_toml(tmp_path / "run" / "config.toml").model.shape == "bert"


def test_going_on_from_a_model_takes_its_tokenizer_and_weights_along(corpus, tmp_path):
    small(corpus, tmp_path / "one")
    show = Recorded()
    small(corpus, tmp_path / "two", source=tmp_path / "one", show=show)
    line = next(line for line in show.lines if line.startswith("Weights"))
    assert f"loaded from {tmp_path / 'one'} · none new · none unused" in line
    one, two = (RunFolder(tmp_path / name).facts for name in ("one", "two"))
    assert two["first_loss"]["loss"] == pytest.approx(one["result"]["loss"], abs=0.2)


# ------------------------------------------------------------------ resuming


def test_a_finished_run_is_not_done_again(corpus, tmp_path):
    first = small(corpus, tmp_path / "run")
    before = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    again = small(corpus, tmp_path / "run")
    assert (again.loss, again.steps, again.folder) == (first.loss, 12, tmp_path / "run")
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_another_config_in_the_same_place_is_refused(corpus, tmp_path):
    small(corpus, tmp_path / "run")
    assert text_of(lambda: small(corpus, tmp_path / "run", more=["seed=1"])) == (
        f"{tmp_path / 'run'}: holds a run of another config (seed: 0 there, 1 here). "
        f"Keep both: --out {tmp_path / 'run-2'}. Or delete it: firth runs --delete {tmp_path / 'run'}."
    )


class Stopping(Recorded):
    """Ends the process's training as a crash would, after a step."""

    def __init__(self, at: int):
        super().__init__()
        self.at = at

    def progress(self, step, run) -> None:
        if step.index == self.at:
            raise RuntimeError("the power is gone")


@pytest.mark.parametrize("at", [2, 7, 12])
def test_an_interrupted_run_ends_with_the_same_weights(corpus, tmp_path, monkeypatch, at):
    every = ["train.checkpoint_every=3", "train.evaluate_every=4"]
    small(corpus, tmp_path / "whole", more=every)
    with pytest.raises(RuntimeError):
        small(corpus, tmp_path / "broken", more=every, show=Stopping(at))
    assert RunFolder(tmp_path / "broken").status == "unfinished"
    show, read, opened = Recorded(), checkpoint.read, []
    monkeypatch.setattr(checkpoint, "read", lambda path: opened.append(path.name) or read(path))
    result = small(corpus, tmp_path / "broken", more=every, show=show)
    assert opened == ([f"step-{at // 3 * 3:09d}.safetensors"] if at > 2 else [])  # once
    assert "is unfinished; going on from" in show.lines[0]
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken")
    whole, broken = (RunFolder(tmp_path / name) for name in ("whole", "broken"))
    assert result.tokens == whole.facts["result"]["tokens"]
    steps = [[row["step"] for row in read_metrics(folder.metrics) if "lr" in row] for folder in (whole, broken)]
    assert steps[0] == steps[1]


def test_a_run_whose_only_checkpoint_is_damaged_begins_as_it_began(corpus, tmp_path):
    """From the weights of another model, not from random ones."""
    small(corpus, tmp_path / "first", "4steps")
    given = {"more": ["train.checkpoint_every=3", "train.evaluate_every=50"], "source": tmp_path / "first"}
    small(corpus, tmp_path / "whole", "6steps", **given)
    with pytest.raises(RuntimeError):
        small(corpus, tmp_path / "broken", "6steps", **given, show=Stopping(4))
    (kept,) = (tmp_path / "broken" / "checkpoints").glob("step-*.safetensors")
    kept.write_bytes(kept.read_bytes()[:-9])
    show = Recorded()
    small(corpus, tmp_path / "broken", "6steps", **given, show=show)
    assert "is unfinished; going on from its start" in show.lines[0]
    assert_equal_weights(tmp_path / "whole", tmp_path / "broken")


def test_a_killed_process_loses_nothing_but_time(corpus, tmp_path):
    every = ["train.checkpoint_every=2", "train.evaluate_every=50"]
    code = (
        "import sys; from firth.train.pretrain import pretrain; "
        "pretrain([sys.argv[1]], out=sys.argv[2], budget='80steps', settings=sys.argv[3:])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(corpus), str(tmp_path / "killed"), *SMALL, *every])
    checkpoints, until = tmp_path / "killed" / "checkpoints", time.monotonic() + 60
    while not list(checkpoints.glob("step-*.safetensors")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    small(corpus, tmp_path / "killed", "80steps", every)
    small(corpus, tmp_path / "whole", "80steps", every)
    assert_equal_weights(tmp_path / "whole", tmp_path / "killed")


def test_changed_data_cannot_be_resumed_on(corpus, tmp_path):
    with pytest.raises(RuntimeError):
        small(corpus, tmp_path / "run", show=Stopping(3))
    corpus.write_text(corpus.read_text() + "\n\nThe new ship finds the old harbour. The tide is late.\n")
    assert text_of(lambda: small(corpus, tmp_path / "run")) == (
        f"{corpus}: is not the data {tmp_path / 'run'} was begun with. "
        f"Put the former files back, or delete the run: firth runs --delete {tmp_path / 'run'}."
    )


# ------------------------------------------------------------------ budgets and plans


def test_a_dry_run_writes_nothing(corpus, tmp_path):
    show = Recorded()
    result = small(corpus, tmp_path / "run", dry_run=True, show=show)
    assert result.status == "planned" and result.plan["steps"] == 12 and result.loss is None
    assert not (tmp_path / "run").exists()
    assert any(line.startswith("Plan     12 steps ×") for line in show.lines)


def test_a_time_budget_becomes_steps_that_fit(corpus, tmp_path, monkeypatch):
    made = small(corpus, tmp_path / "run", "30s", dry_run=True).plan
    assert made["steps"] >= plan.FEWEST
    assert 0.8 * 30 <= made["seconds"] <= 30.5
    assert made["memory"] > 10**8 and made["disk"] > 10**6


def test_a_choice_is_measured_once_per_machine_and_shape(corpus, tmp_path, monkeypatch):
    small(corpus, tmp_path / "one", "280s", dry_run=True)
    kept = list((cache_folder() / "probes").glob("*.json"))
    monkeypatch.setattr(probe.Race, "steps", lambda *_: pytest.fail("measured again"))
    small(corpus, tmp_path / "two", "280s", dry_run=True)
    assert len(kept) == 1 and json.loads(kept[0].read_text())["key"]["torch"] == torch.__version__


def test_runs_given_in_steps_never_measure_choices(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "choose", lambda *_: pytest.fail("measured"))
    assert small(corpus, tmp_path / "run", dry_run=True).status == "planned"


def test_the_time_already_spent_counts(corpus, tmp_path):
    started = time.monotonic() - 28
    said = text_of(lambda: small(corpus, tmp_path / "run", "30s", dry_run=True, started=started))
    assert said.startswith("--budget 30s: leaves no time to train: ")


def test_a_choice_of_a_person_is_never_overruled():
    recipe = request(["x"], ["train.precision=fp32", "train.threads=3"], None, **dict.fromkeys(OPTIONS))
    chosen = probe.with_choice(recipe, probe.Choice(8, "bf16", "plain"))
    assert (chosen.train.threads, chosen.train.precision, chosen.train.attention) == (3, "fp32", "plain")


@pytest.mark.parametrize(
    ("context", "native", "choice"),
    [
        (128, True, probe.Choice(2, "bf16", "plain")),
        (1024, True, probe.Choice(2, "bf16", "sdpa")),
        (128, False, probe.Choice(2, "fp32", "plain")),
        (512, False, probe.Choice(2, "fp32", "sdpa")),
    ],
)
def test_the_rule_depends_on_the_kind_of_machine_alone(context, native, choice):
    assert probe.rule(context, native, 2) == choice


def test_a_race_prefers_the_earlier_unless_a_later_one_is_clearly_faster(monkeypatch):
    seconds = {"a": 1.0, "b": 0.99, "c": 0.5}
    race = probe.Race(None, None, None, "cpu", time.perf_counter() + 9)
    monkeypatch.setattr(race, "allowed", lambda choice: choice)
    monkeypatch.setattr(race, "steps", lambda choice: seconds[choice.precision])
    first, near, fast = (probe.Choice(1, name, "plain") for name in "abc")
    assert race.fastest([first, near]) == first
    assert race.fastest([first, near, fast]) == fast


def test_a_kernel_that_fails_is_out_of_the_race(monkeypatch):
    def steps(choice):
        if choice.compile == "on":
            raise RuntimeError("no compiler")
        return 1.0

    race = probe.Race(None, None, None, "cpu", time.perf_counter() + 9)
    monkeypatch.setattr(race, "allowed", lambda choice: choice)
    monkeypatch.setattr(race, "steps", steps)
    plain = probe.Choice(1, "fp32", "plain")
    assert race.fastest([plain, plain._replace(compile="on")]) == plain


# ------------------------------------------------------------------ requests

OPTIONS = ("objective", "size", "budget", "source", "seed", "device")


def asked(*settings, config=None, paths=("texts",), **options):
    return request(list(paths), settings, config, **(dict.fromkeys(OPTIONS) | options))


def test_options_and_settings_make_a_recipe():
    recipe = asked("train.batch=8", objective="masked_tokens", size="tiny", budget="90s", seed=3)
    assert (recipe.objective, recipe.model.size, recipe.train.budget) == (("masked-tokens",), "tiny", "90s")
    assert (recipe.seed, recipe.train.batch, recipe.data.paths) == (3, 8, ("texts",))


def test_a_new_budget_on_a_complete_config_is_planned_anew(tmp_path):
    (tmp_path / "c.toml").write_text('[data]\npaths = ["t"]\n[train]\nsteps = 9\nevaluate_every = 3\n')
    assert asked(config=tmp_path / "c.toml", paths=()).train.steps == 9
    assert asked(config=tmp_path / "c.toml", paths=(), budget="5steps").train.steps is None
    found = asked("train.budget=5steps", "train.evaluate_every=2", config=tmp_path / "c.toml", paths=()).train
    assert (found.steps, found.budget, found.evaluate_every) == (None, "5steps", 2)
    assert asked("train.budget=5steps", "train.steps=7", config=tmp_path / "c.toml", paths=()).train.steps == 7


@pytest.mark.parametrize(
    ("paths", "place"),
    [
        (["reviews.txt"], "runs/reviews-masked-tokens"),
        (["a/books/"], "runs/books-masked-tokens"),
        (["a/books/*.txt"], "runs/books-masked-tokens"),
        (["x.jsonl.gz"], "runs/x-masked-tokens"),
    ],
)
def test_the_default_place(paths, place):
    assert default_place(asked(paths=paths)) == Path(place)


def test_without_a_budget_the_person_is_told_what_to_type(corpus, tmp_path):
    assert text_of(lambda: pretrain([corpus], out=tmp_path / "run")) == str(budget.missing())


def test_a_person_who_is_there_is_asked_for_the_budget(corpus, tmp_path):
    asked_so = []
    result = small(corpus, tmp_path / "run", None, ask=lambda *question: asked_so.append(question) or "4steps")
    assert result.steps == 4 and load_toml(tmp_path / "run" / "config.toml").train.budget == "4steps"
    assert [suggested for _, suggested in asked_so] == ["20m"]
    again = small(corpus, tmp_path / "run", "4steps", ask=lambda *question: pytest.fail("was asked"))
    assert again.loss == result.loss  # what was answered is what one would have typed


def test_without_data_the_person_is_told_what_to_type():
    assert text_of(lambda: pretrain(budget="20m")) == (
        "DATA: is not given. Name files or folders: firth pretrain texts/ --budget 20m."
    )


def test_an_unknown_objective_and_device(corpus, tmp_path):
    assert "Did you mean `masked-tokens`?" in text_of(lambda: small(corpus, tmp_path / "run", objective="masked-token"))
    assert text_of(lambda: small(corpus, tmp_path / "run", device="tpu")) == (
        "--device tpu: is not available here. Use --device auto or cpu."
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_may_not_be_written(corpus, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "may not be written to. Choose another place with --out." in text_of(
        lambda: small(corpus, tmp_path / "locked" / "run")
    )
