"""The contract itself: composition, totals, what is refused."""

import pytest
import torch
from torch import nn

from firth.errors import InputError
from firth.functional.random import Draw
from firth.objective import Composed, Loss, Objective, ObjectiveConfig, Term, collate, total
from firth.signal import Batch, Features, Sample


class CountConfig(ObjectiveConfig):
    name: str = "count"
    terms = ("count",)

    def arrange(self, samples, draw):
        return [s.but(targets={**s.targets, self.name: len(s.parts[0])}) for s in samples]

    def prepare(self, batch, draw):
        batch.counts[self.name] = len(batch["key"])
        return batch


class Count(Objective):
    Config = CountConfig

    def loss(self, features, batch):
        return Loss({self.config.name: Term(features.values.sum(), batch.counts[self.config.name])}, {})


class Alone(Count):
    compares_samples = True

    def forward(self, batch):
        return super().forward(batch)


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.passes, self.kept = 0, "unset"

    def forward(self, batch, keep=None, layers=False, causal=None):
        self.passes, self.kept = self.passes + 1, keep
        return Features(values=self.scale * batch["key"].float()[:, None, None])


class Stack:
    def stack(self, samples):
        keys = torch.tensor([s.key for s in samples])
        return Batch(key=keys, **{k: torch.tensor([s.targets[k] for s in samples]) for k in samples[0].targets})


def composed(*names, kind=Count):
    backbone = Backbone()
    return Composed(backbone, {name: kind(CountConfig(name=name), backbone) for name in names})


def samples():
    return [Sample(parts=(list(range(n)),), key=n) for n in (2, 3)]


def test_all_arrange_then_one_stack_then_all_prepare():
    objective = composed("a", "b")
    batch = collate(samples(), objective.configs, Stack(), Draw(0))
    assert batch["a"].tolist() == batch["b"].tolist() == [2, 3]
    assert batch.counts == {"a": 2, "b": 2}


def test_one_encoder_pass_serves_every_part():
    objective = composed("a", "b")
    batch = collate(samples(), objective.configs, Stack(), Draw(0))
    loss = objective(batch)
    assert objective.backbone.passes == 1
    assert {name: (float(t.sum), t.count) for name, t in loss.terms.items()} == {"a": (5.0, 2), "b": (5.0, 2)}


def test_the_backbone_is_registered_once():
    assert [name for name, _ in composed("a", "b").named_parameters()] == ["backbone.scale"]


def test_kept_steps_are_used_only_if_no_part_needs_all():
    objective = composed("a", "b")
    batch = Batch(key=torch.tensor([1]), keep=torch.tensor([[0]]))
    objective.encode(batch)
    assert objective.backbone.kept is None
    for part in objective.parts.values():
        part.all_steps = False
    objective.encode(batch)
    assert objective.backbone.kept is batch["keep"]


def test_total_divides_each_sum_by_its_global_count_and_weighs_it():
    loss = Loss({"a": Term(torch.tensor(6.0), 2), "b": Term(torch.tensor(10.0), 5)}, {})
    assert float(total(loss, {"a": 3, "b": 5}, {"a": 1.0, "b": 0.5})) == pytest.approx(3.0)


def test_a_count_of_zero_contributes_zero():
    loss = Loss({"a": Term(torch.tensor(0.0, requires_grad=True), 0)}, {})
    value = total(loss, {"a": 0}, {})
    value.backward()
    assert float(value) == 0


def test_a_method_with_its_own_passes_stands_alone():
    backbone = Backbone()
    parts = {"alone": Alone(CountConfig(), backbone), "count": Count(CountConfig(), backbone)}
    with pytest.raises(InputError) as caught:
        Composed(backbone, parts)
    assert str(caught.value) == (
        "objective `alone,count`: `alone` makes its own passes through the encoder and cannot share one. "
        "Run `--objective alone` alone."
    )


def test_comparing_objectives_say_so():
    assert composed("a", kind=Alone).compares_samples
    assert not composed("a").compares_samples


def test_features_mean_leaves_padding_out():
    values = torch.tensor([[[1.0], [3.0], [100.0]]])
    features = Features(values, padding=torch.tensor([[False, False, True]]))
    assert float(features.mean) == 2.0
    assert float(features.pooled) == 1.0
    assert Features(values).mean.item() == pytest.approx(104 / 3)


def test_batch_moves_with_its_counts_and_keeps_key_bits():
    batch = Batch(key=torch.tensor([-1]), counts={"a": 4})
    assert batch.to("cpu").counts == {"a": 4}
    assert int(batch.keys_[0]) == 2**64 - 1
