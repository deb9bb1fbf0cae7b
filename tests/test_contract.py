"""The contract over all objectives and tasks, and over compositions of them."""

import os
from pathlib import Path

import pytest
import torch

from firth import find
from firth.errors import InputError
from firth.functional.random import Draw
from firth.objective import Composed, Objective, ObjectiveConfig, collate, total
from tests import contract, settings

GOLDEN = Path(__file__).parent / "golden"
DOCS = Path(__file__).parents[1] / "docs"
CASES = contract.cases()
TOGETHER = [case for case in CASES if len(case) > 1]
exact = {"rtol": 1e-10, "atol": 1e-12}


def ids(case):
    return "+".join(case)


@pytest.mark.parametrize("names", CASES, ids=ids)
def test_counts_are_known_before_forward_and_match_the_terms(names):
    objective = contract.build(names)
    batch = contract.batch_of(objective, contract.samples(5, of=names))
    before = dict(batch.counts)
    loss = objective(batch)
    assert set(before) == set(loss.terms) == set(objective.weights)
    assert all(float(loss.terms[name].count) == before[name] > 0 for name in before)
    assert batch.counts == before


@pytest.mark.parametrize("names", CASES, ids=ids)
def test_every_parameter_gets_a_gradient(names):
    objective = contract.build(names)
    batch = contract.batch_of(objective, contract.samples(5, of=names))
    contract.backward(objective, [batch], batch.counts)
    idle = {"backbone.embed.mask"} if contract.kind_of(names[0]) == "tasks" else set()  # a task hides nothing
    poor = {name for name, p in objective.named_parameters() if p.grad is None or not p.grad.isfinite().all()}
    assert poor <= idle


@pytest.mark.parametrize("names", [c for c in CASES if all(contract.kind_of(n) == "objectives" for n in c)], ids=ids)
def test_a_count_of_zero_contributes_zero_and_touches_its_parameters(names):
    objective = contract.build(names)
    nothing = contract.kit_of(names).nothing
    if nothing is None:
        pytest.skip("every sample counts")
    batch = contract.batch_of(objective, nothing())
    assert set(batch.counts.values()) == {0}
    contract.backward(objective, [batch], batch.counts)
    assert all(value == 0 for value in contract.sums(objective, batch).values())
    heads = [p for name, p in objective.named_parameters() if name.startswith("parts.")]
    heads = heads or [objective.backbone.embed.word.weight]  # the output map, where it has no rows of its own
    assert heads and all(p.grad is not None and (p.grad == 0).all() for p in heads)


@pytest.mark.parametrize("names", CASES, ids=ids)
def test_accumulation_gives_the_gradient_of_the_whole(names):
    whole, parts = contract.build(names), contract.build(names)
    if whole.compares_samples:
        pytest.skip("compares the samples of a batch: the loop refuses accumulation")
    chosen = contract.samples(7, of=names)
    one = contract.batch_of(whole, chosen)
    many = [contract.batch_of(parts, piece) for piece in (chosen[:1], chosen[1:5], chosen[5:])]
    assert contract.counts_of(many) == one.counts
    contract.backward(whole, [one], one.counts)
    contract.backward(parts, many, one.counts)
    torch.testing.assert_close(contract.gradients(parts), contract.gradients(whole), **exact)


@pytest.mark.parametrize("names", CASES, ids=ids)
def test_padding_changes_nothing(names):
    objective = contract.build(names)
    if objective.compares_samples:
        pytest.skip("compares the samples of a batch")
    chosen = contract.samples(4, shortest=6, longest=12, of=names) + contract.samples(1, seed=9, shortest=26, of=names)
    together = contract.sums(objective, contract.batch_of(objective, chosen))
    alone = [contract.sums(objective, contract.batch_of(objective, [sample])) for sample in chosen]
    for name, value in together.items():
        if not name.endswith("_spread"):  # how far vectors differ from each other
            assert value == pytest.approx(sum(one[name] for one in alone), rel=1e-10)


@pytest.mark.parametrize("name", contract.methods())
def test_reads_and_adds_only_what_it_declares(name):
    objective = contract.build([name])
    config, part = objective.configs[0], objective.parts[name]
    arranged = config.arrange(contract.samples(4, of=name), contract.DRAW)
    given = set(contract.samples(1, of=name)[0].targets)
    assert {key for sample in arranged for key in sample.targets} - given <= config.adds
    stacked = contract.Watched(contract.kit_of(name).signal.stack(arranged))
    plain = {key: value.clone() for key, value in stacked.items()}
    batch = config.prepare(stacked, contract.DRAW)
    read = set(stacked.read)
    changed = {key for key in batch if key not in plain or not torch.equal(batch[key], plain[key])}
    assert changed <= config.adds
    assert read <= config.reads | config.adds
    assert set(batch.counts) == set(config.terms)
    watched = contract.Watched(batch)
    own_passes = type(part).forward is not Objective.forward
    part(watched) if own_passes else part.loss(part.encode(batch), watched)
    assert watched.read <= config.reads | config.adds


@pytest.mark.parametrize("name", contract.methods())
def test_prepare_and_arrange_leave_their_input_alone(name):
    config = contract.config_of(name)
    chosen = contract.samples(4, of=name)
    copies = [sample.parts[0].copy() for sample in chosen]
    stacked = contract.kit_of(name).signal.stack(config.arrange(chosen, contract.DRAW))
    plain = {key: value.clone() for key, value in stacked.items()}
    config.prepare(stacked, contract.DRAW)
    assert all((sample.parts[0] == copy).all() for sample, copy in zip(chosen, copies, strict=True))
    assert all(torch.equal(stacked[key], value) for key, value in plain.items())


@pytest.mark.parametrize("names", CASES, ids=ids)
def test_the_same_seed_gives_the_same_rows_whoever_else_is_in_the_batch(names):
    objective = contract.build(names)
    chosen = contract.samples(5, of=names)
    batch = contract.batch_of(objective, chosen)
    for row, sample in enumerate(chosen):
        alone = contract.batch_of(objective, [sample])
        for key in set(alone) & set(batch):
            there, here = batch[key][row], alone[key][0]
            assert torch.equal(there[: len(here)] if here.ndim else there, here), key


@pytest.mark.parametrize("name", find.names("objectives"))
def test_epoch_and_seed_change_the_batch(name):
    """Of an objective that draws."""
    before = contract.Counted.asked
    objective, chosen = contract.build([name]), contract.samples(16, of=name)
    draws = [contract.Counted(*pair) for pair in ((0, 0), (0, 0), (0, 1), (1, 0))]
    same, again, epoch, seed = (contract.batch_of(objective, chosen, draw) for draw in draws)
    differs = [any(not torch.equal(same[k], other[k]) for k in same) for other in (again, epoch, seed)]
    drew = contract.Counted.asked > before
    assert differs == [False, drew, drew]


@pytest.mark.parametrize(
    ("name", "shape"), [(name, shape) for name in contract.methods() for shape in contract.shapes_of(name)]
)
def test_defaults_build_at_size_tiny(name, shape):
    objective = contract.build([name], torch.float32, shape)
    batch = contract.batch_of(objective, contract.samples(3, of=name))
    loss = total(objective(batch), batch.counts, objective.weights)
    most = 1e4 if name in contract.SUMS else 20
    assert loss.isfinite() and 0 < loss.item() < most


@pytest.mark.parametrize("names", TOGETHER, ids=ids)
def test_the_loss_of_a_composition_is_the_sum_of_its_parts(names):
    objective = contract.build(names)
    batch = contract.batch_of(objective, contract.samples(6, of=names))
    for own in batch.keys() & {"spans", "bands"}:  # what a task hides where it alone is heard
        del batch[own]
    together = contract.sums(objective, batch)
    for name in names:
        alone = objective.parts[name](batch)
        for term, (value, _) in (alone.terms | alone.metrics).items():
            assert together[term] == pytest.approx(value.item(), rel=1e-10)


def test_weights_scale_their_terms():
    names, own = ("next-sentence", "masked-tokens"), {"next_sentence": {"weight": 0.0}}
    alone, weighted = contract.build(names), contract.build(names, **own)
    batch = contract.batch_of(alone, contract.samples(4))
    contract.backward(weighted, [batch], batch.counts)
    assert weighted.weights == {"next_sentence": 0.0, "masked_tokens": 1.0}
    assert (weighted.parts["next-sentence"].classifier.weight.grad == 0).all()
    assert (weighted.parts["masked-tokens"].head.bias.grad != 0).any()


def test_a_method_with_its_own_passes_stands_alone():
    class Own(Objective):
        def forward(self, batch):
            raise NotImplementedError

    backbone = contract.build(["masked-tokens"]).backbone
    config = contract.config_of("masked-tokens")
    parts = {"own-way": Own(config, backbone), "masked-tokens": contract.main_class("masked-tokens")(config, backbone)}
    with pytest.raises(InputError) as raised:
        Composed(backbone, parts)
    assert str(raised.value) == (
        "objective `own-way,masked-tokens`: `own-way` makes its own passes through the encoder and cannot share one. "
        "Run `--objective own-way` alone."
    )


def trace(names, steps: int = 4) -> str:
    """Plain gradient descent in double precision on a few fixed batches: one line of sums and counts a step."""
    objective, lines = contract.build(names), []
    lr = 1e-3 if contract.SUMS.intersection(names) else 0.05
    for step in range(steps):
        batch = contract.batch_of(objective, contract.samples(4, seed=step, of=names), Draw(5, step))
        loss = objective(batch)
        lines.append(" ".join(f"{n} {t.sum.item():.9f} / {t.count}" for n, t in sorted(loss.terms.items())))
        objective.zero_grad()
        total(loss, batch.counts, objective.weights).backward()
        with torch.no_grad():
            for parameter in objective.parameters():
                parameter -= lr * parameter.grad
        objective.after_step((step + 1) / steps)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("names", [c for c in CASES if all(contract.kind_of(n) == "objectives" for n in c)], ids=ids)
def test_losses_follow_the_recorded_trace(names):
    """FIRTH_GOLDEN=write records anew; the change of a trace belongs into the commit message."""
    path, now = GOLDEN / f"{'+'.join(names)}.txt", trace(names)
    if os.environ.get("FIRTH_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(now)
    for line, recorded in zip(now.splitlines(), path.read_text().splitlines(), strict=True):
        assert [w for w in line.split() if "." not in w] == [w for w in recorded.split() if "." not in w]
        numbers, before = ([float(w) for w in text.split() if "." in w] for text in (line, recorded))
        assert numbers == pytest.approx(before, rel=1e-7)


def settings_table(name: str) -> str:
    """The recipe table of a method as Markdown: its own fields that are told, then those that all have."""
    config = contract.module_of(name).Config
    shared, fields = ObjectiveConfig.model_fields, config.model_fields
    own = [key for key in fields if key not in shared and fields[key].description]
    return settings.table(name, fields, [*own, *(shared if getattr(config, "learns", True) else ())])


@pytest.mark.parametrize("name", [*find.names("objectives"), *find.names("tasks")])
def test_the_page_of_a_method_lists_its_settings(name):
    """FIRTH_GOLDEN=write writes the table into the page."""
    page, now = DOCS / f"{name}.md", settings_table(name)
    assert settings.kept(page, now) == now
    text = page.read_text(encoding="utf-8")
    kind = contract.kind_of(name)
    assert "arxiv.org" in text and {"objectives": "firth pretrain", "tasks": f"--task {name}"}[kind] in text
    assert kind == "tasks" or "Not measured yet." in text or "results.md" in text


TOY = '''"""Position of the largest token: a toy objective."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from firth.objective import Loss, Objective, ObjectiveConfig, Term
from firth.signal import Batch


class Config(ObjectiveConfig):
    adds: ClassVar[frozenset[str]] = frozenset({"largest"})
    reads: ClassVar[frozenset[str]] = frozenset({"tokens"})
    terms: ClassVar[tuple[str, ...]] = ("largest_token",)

    def prepare(self, batch, draw):
        largest = batch["tokens"].argmax(1)
        return Batch({**batch, "largest": largest}, counts={**batch.counts, "largest_token": len(largest)})


class LargestToken(Objective):
    Config = Config

    def __init__(self, config, backbone):
        super().__init__(config, backbone)
        self.score = nn.Linear(backbone.shape.width, 1)

    def loss(self, features, batch):
        scores = self.score(features.values)[..., 0]
        nats = F.cross_entropy(scores, batch["largest"], reduction="sum")
        right = (scores.argmax(1) == batch["largest"]).sum()
        count = batch.counts["largest_token"]
        return Loss({"largest_token": Term(nats, count)}, {"largest_token_accuracy": Term(right, count)})
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """One new file in a copy of the folder that find searches."""
    import firth.objectives

    folder = tmp_path / "objectives"
    folder.mkdir()
    for name in find.names("objectives"):
        (folder / f"{name.replace('-', '_')}.py").touch()
    (folder / "largest_token.py").write_text(TOY)
    monkeypatch.setattr(find, "HERE", tmp_path)
    monkeypatch.setattr(firth.objectives, "__path__", [*firth.objectives.__path__, str(folder)])
    return "largest-token"


@pytest.mark.parametrize("with_others", [(), ("masked-tokens",)], ids=["alone", "with masked tokens"])
def test_a_new_objective_is_one_file(toy, with_others):
    names = (toy, *with_others)
    objective = contract.build(names)
    batch = collate(contract.samples(16), objective.configs, contract.SIGNAL, contract.DRAW)
    optimizer, losses = torch.optim.Adam(objective.parameters(), lr=3e-3), []
    for _ in range(15):
        loss = objective(batch)
        losses.append(loss.terms["largest_token"].sum.item())
        optimizer.zero_grad()
        total(loss, batch.counts, objective.weights).backward()
        optimizer.step()
    right, seen = objective(batch).metrics["largest_token_accuracy"]
    assert losses[-1] < 0.5 * losses[0] and right / seen > 0.5
