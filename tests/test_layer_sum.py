"""The learnt sum of all layers: its arithmetic, its gradient over a frozen encoder, and on text from end to end."""

import json

import pytest
import torch

from firth.errors import InputError
from firth.evaluate.predict import load
from firth.find import find
from firth.interop.folder import open_folder
from firth.model.features import Features
from firth.model.layer_sum import PACE, LayerSum
from firth.train.pretrain import pretrain
from tests import contract, runs, tones

FROZEN = ["model.frozen=true", "model.layer_sum=true"]


def layers(count: int = 3, scale: float = 1.0) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(0)
    return [scale ** (i + 1) * torch.randn(2, 4, 8, generator=source, dtype=torch.float64) for i in range(count)]


def test_at_first_all_layers_have_the_same_share():
    own = LayerSum(3).double()
    torch.testing.assert_close(own.shares, torch.full((3,), 1 / 3, dtype=torch.float64))
    found, values = own(layers()), layers()
    expected = sum((one - one.mean(-1, keepdim=True)) / one.var(-1, correction=0, keepdim=True).add(1e-5).sqrt()
                   for one in values) / 3  # fmt: skip
    torch.testing.assert_close(found, expected)


def test_layers_of_other_sizes_count_as_much():
    own = LayerSum(3).double()
    torch.testing.assert_close(own(layers(scale=100.0)), own(layers()), rtol=1e-3, atol=1e-3)


def test_shares_are_a_softmax_and_learn():
    own = LayerSum(3).double()
    with torch.no_grad():
        own.weights += torch.tensor([0.0, 1.0, 0.0])
    shares = own.shares.tolist()
    assert sum(shares) == pytest.approx(1) and shares[1] / shares[0] == pytest.approx(torch.tensor(PACE).exp().item())
    own(layers()).square().sum().backward()
    assert (own.weights.grad != 0).any()


def test_the_last_layer_is_taken_behind_the_last_norm():
    own, found = LayerSum(3).double(), layers()
    behind = layers(3, 2.0)[-1]
    torch.testing.assert_close(own.applied(Features(behind, layers=found)).values, own([*found[:2], behind]))


def test_what_it_cannot_sum_is_refused():
    with pytest.raises(ValueError, match="2 layers for 3 shares"):
        LayerSum(3)(layers(2))
    with pytest.raises(ValueError, match="there are no layers"):
        LayerSum(3).applied(Features(layers()[0]))


@pytest.mark.parametrize("name", ["classify", "tag", "pairs"])
def test_over_a_frozen_encoder_only_shares_and_head_learn(name):
    objective = contract.build([name])
    objective.backbone.freeze()
    part = objective.parts[name]
    part.layer_sum = LayerSum(objective.backbone.shape.layers + 1).double()
    batch = contract.batch_of(objective, contract.samples(5))
    with torch.no_grad():
        part.classifier.weight.normal_(generator=torch.Generator().manual_seed(0))
    contract.backward(objective, [batch], batch.counts)
    learnt = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert f"parts.{name}.layer_sum.weights" in learnt
    assert not any(one.startswith("backbone.") for one in learnt)
    assert (part.layer_sum.weights.grad != 0).any()


class Noise(torch.nn.Module):
    def forward(self, x):
        return 50 * torch.randn(x.shape, generator=torch.Generator().manual_seed(x.shape[-1]))


def test_the_layer_that_knows_is_found():
    """Only the embedding tells tones apart well; each block above it adds noise."""
    transcribe = find("tasks", "transcribe")
    config = transcribe.Config(units="characters", dropout=0.0, classes=tuple(sorted(tones.LETTERS)))
    objective = tones.composed("transcribe", transcribe.Transcribe, config)
    objective.backbone.blocks = torch.nn.ModuleList([Noise(), Noise()])
    objective.backbone.requires_grad_(False)
    part = objective.parts["transcribe"]
    part.layer_sum = LayerSum(3)
    tones.learn(objective, [config.example(tones.example(name)) for name in tones.names(24)], steps=80)
    assert part.layer_sum.shares.argmax() == 0 and part.layer_sum.shares[0] > 0.5


# ------------------------------------------------------------------ end to end, on text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("layers") / "run"
    runs.quick_adapt(place, [*FROZEN, f"data.test={runs.folder() / 'test.tsv'}"])
    return place


def test_a_run_tells_what_it_reads_of_each_layer(run):
    result = json.loads((run / "run.json").read_text())["result"]
    assert len(result["layers"]) == 3 and sum(result["layers"]) == pytest.approx(1)
    assert "Layers read: 0 " in (run / "README.md").read_text()


def test_the_shares_are_kept_with_the_head_and_used_again(run):
    opened = open_folder(run)
    assert "parts.classify.layer_sum.weights" in opened.state and opened.classes == ("negative", "positive")
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["architectures"] == ["ModernBertModel"]  # no class there sums layers
    loaded = load(run)
    assert loaded.objective.parts["classify"].layer_sum is not None
    [said] = loaded.predict(["A wonderful film about the ship and the tram 7."])
    assert said.label in ("negative", "positive")


def test_the_model_folder_answers_as_the_run_did(run):
    result = json.loads((run / "run.json").read_text())["result"]
    rows = [line.split("\t") for line in (runs.folder() / "test.tsv").read_text().splitlines()[1:]]
    said = list(load(run).predict([text for text, _ in rows]))
    right = sum(one.label == label for one, (_, label) in zip(said, rows, strict=True)) / len(rows)
    assert right == pytest.approx(result["score"]["accuracy"])


def test_the_encoder_is_left_as_it_was(run):
    before, after = (open_folder(place).state for place in (runs.folder() / "pretrained", run))
    same = [name for name in after if name.startswith("backbone.")]
    assert same and all(torch.equal(before[name], after[name]) for name in same)


def test_it_is_a_key_of_adapting_alone(tmp_path):
    with pytest.raises(InputError) as caught:
        pretrain([runs.folder() / "corpus.txt"], budget="2steps", out=tmp_path / "x", settings=["model.layer_sum=true"])
    assert str(caught.value) == (
        "model.layer_sum = true: is a key of adapt: pre-training trains the whole encoder. Leave it out."
    )


def test_a_head_that_reads_all_layers_is_not_exported(run, tmp_path):
    from firth.evaluate.exports import subject_of

    with pytest.raises(InputError) as caught:
        subject_of(run, vectors=False)
    assert str(caught.value) == (
        f"{run}: its head reads all layers, and other tools are given the last one. "
        "Say --vectors, or adapt without model.layer_sum."
    )


def test_the_page_of_the_run_draws_the_shares(run):
    from firth.report.run_page import content, layers_read

    titles = [chart["title"] for chart in content(run)["charts"]]
    assert titles[-1] == "What it reads of each layer"
    assert layers_read({"result": {"layers": []}}) == layers_read({}) == []


def test_the_page_says_how_sure_or_how_wrong():
    from firth.report.run_page import sureness

    assert sureness({"probability": 0.981}) == "98 %" and sureness({}) == "100 %"
    assert sureness({"errors": "2 errors"}) == "2 errors" and sureness({"score": -0.5}) == "score -0.50"
