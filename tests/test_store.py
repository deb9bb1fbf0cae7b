"""What a frozen encoder gives is kept by sample: the same numbers in any company, each sample encoded once, a limit."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from firth.find import find
from firth.functional.random import Draw
from firth.model.features import Features
from firth.model.layer_sum import LayerSum
from firth.model.store import Store
from firth.train import adaptation
from tests import runs, tones

transcribe = find("tasks", "transcribe")
CONFIG = transcribe.Config(units="characters", dropout=0.0, classes=tuple(sorted(tones.LETTERS)))


def part(layers: bool = True):
    objective = tones.composed("transcribe", transcribe.Transcribe, CONFIG)
    own = objective.parts["transcribe"]
    own.layer_sum = LayerSum(3) if layers else None
    with torch.no_grad():
        own.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
    return objective, own


def batch_of(names):
    examples = [CONFIG.example(tones.example(name)) for name in names]
    return CONFIG.prepare(tones.SIGNAL.stack(CONFIG.samples(examples, tones.SIGNAL)), Draw(0))


class Counted:
    """A run that knows how often it was asked."""

    def __init__(self, backbone, batch, layers: bool = True):
        self.asked, self.ask = 0, lambda: backbone(batch, layers=layers)

    def __call__(self) -> Features:
        self.asked += 1
        return self.ask()


@pytest.mark.parametrize("layers", [True, False])
def test_what_is_kept_is_what_the_encoder_gives_in_other_company(layers):
    objective, _ = part()
    store, names = Store(), tones.names(8, most=9)
    for some in (names[:3], names[3:]):
        batch = batch_of(some)
        store(batch, Counted(objective.backbone, batch, layers))
    mixed = batch_of(names[::-2])
    run = Counted(objective.backbone, mixed, layers)
    found, fresh = store(mixed, run), objective.backbone(mixed, layers=layers)
    assert run.asked == 0
    real = ~fresh.padding
    torch.testing.assert_close(found.padding, fresh.padding)
    torch.testing.assert_close(found.values[real], fresh.values[real])
    torch.testing.assert_close(found.mean, fresh.mean)
    assert (found.layers is None) == (not layers)
    for one, other in zip(found.layers or (), fresh.layers or (), strict=True):
        torch.testing.assert_close(one[real], other[real])


def test_the_loss_and_its_gradient_are_the_same():
    batches = [batch_of(names) for names in (tones.names(4), tones.names(4, seed=1, most=9))]
    both = []
    for store in (None, Store()):
        objective, own = part()
        objective.backbone.requires_grad_(False)
        own.store = store
        for batch in (*batches, *batches):
            objective.zero_grad()
            loss = objective(batch).terms["transcribe"].sum
            loss.backward()
        both.append([loss.detach(), own.classifier.weight.grad, own.layer_sum.weights.grad])
    torch.testing.assert_close(*both, rtol=1e-5, atol=1e-5)


def test_beyond_the_limit_nothing_is_kept():
    objective, _ = part()
    batch = batch_of(tones.names(4))
    size = 4 * 3 * tones.WIDTH  # bytes of a step
    store = Store(limit=size * len(tones.frames(tones.names(4)[0])))
    run = Counted(objective.backbone, batch)
    for _ in range(2):
        store(batch, run)
    assert run.asked == 2 and store.bytes <= store.limit and len(store.rows) < 4


def test_a_vector_of_the_encoders_own_is_kept_and_a_sample_without_steps_is_padding():
    store, batch = Store(), {"key": torch.tensor([7, 9])}
    given = Features(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), vector=torch.arange(8.0).view(2, 4))
    store(batch, lambda: given)
    found = store({"key": torch.tensor([9, 7])}, lambda: None)
    assert found.vector.tolist() == given.vector.flip(0).tolist()
    assert found.values.shape == (2, 1, 4) and found.padding.all() and (found.mean == 0).all()


def test_a_frozen_adaptation_ends_with_the_same_weights(tmp_path, monkeypatch):
    """With what is kept and without, to the last digits; and afterwards nothing is kept."""
    losses = []
    for number, limit in enumerate((2**31, 0)):
        monkeypatch.setattr(adaptation, "Store", lambda _, limit=limit: Store(limit))
        settings = ["model.frozen=true", "model.layer_sum=true", "train.steps=12", "train.batch=64"]
        run = runs.quick_adapt(tmp_path / str(number), settings)
        losses.append([means["loss"] for _, means in run.curve])
        assert json.loads((run.folder / "run.json").read_text())["status"] == "finished"
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_only_while_a_head_learns_is_anything_kept(monkeypatch):
    objective, own = part()
    work = adaptation.Adaptation.__new__(adaptation.Adaptation)
    work.objective, work.signal = objective, SimpleNamespace(known=())
    for frozen in (True, False):
        work.recipe = adaptation.Recipe(verb="adapt", model={"frozen": frozen})
        with adaptation.remembering(work):
            assert isinstance(own.store, Store) == frozen
            assert not frozen or work.signal.known is own.store
        assert own.store is None and work.signal.known == ()


def test_a_sample_is_known_by_its_own_key_whatever_its_highest_bit():
    """A batch has the 64 bits of the key with a sign."""
    objective, _ = part()
    keys = [2**64 - 5, 2**63, 2**63 - 1, 7]
    batch = batch_of(tones.names(4))
    batch["key"] = torch.from_numpy(np.array(keys, np.uint64).view(np.int64))
    store = Store()
    store(batch, Counted(objective.backbone, batch))
    assert all(key in store for key in keys) and 8 not in store and 2**63 + 1 not in store
