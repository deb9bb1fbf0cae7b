"""HuBERT: units are the clusters of every step, kept in a file; the loss is that of a plain formula."""

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch.nn.functional import cross_entropy, normalize

from firth.data.source import ListSource
from firth.errors import InputError
from firth.functional.cluster import assign
from firth.functional.losses import IGNORE
from firth.functional.random import Draw
from firth.objective import Before
from firth.objectives import hubert
from firth.objectives._steps import at_hidden
from firth.objectives._units import every, read_units, some_steps, write_units
from firth.signals.speech import Config as SpeechConfig
from firth.signals.speech import Speech
from tests import contract, recordings, sounds

SPEECH = Speech(SpeechConfig(front="wave"))


def clips(count: int = 12, first: int = 0) -> list[sounds.Sample]:
    """Words of two tones, as a signal hands them on."""
    made = [recordings.word(list(recordings.WORDS)[i % 4], first + i) for i in range(count)]
    waves = [(wave * 2**14).astype(np.int16) for wave in made]
    return [sounds.Sample((wave,), key=1000 + first + i) for i, wave in enumerate(waves)]


def given(tmp_path, encode=None, notes=None, signal=SPEECH) -> Before:
    sources = [ListSource(clips()), ListSource(clips(3, first=50))]
    return Before(sources, signal, encode, tmp_path, 0, (notes if notes is not None else []).append)


def config(**own) -> hubert.Config:
    return hubert.Config(**{"clusters": 8, "field": 400, "stride": 320, **own})


def test_units_are_the_nearest_clusters_of_the_cepstra(tmp_path):
    notes: list[str] = []
    ready = config().ready(given(tmp_path, notes=notes))
    units, rows = read_units(ready.units), hubert.cepstra(SPEECH)(clips())
    for sample, row in zip(clips(), rows, strict=True):
        steps = (len(sample.parts[0]) - 400) // 320 + 1
        assert (units.of(sample.key) == assign(row[::2][:steps], units.centres)[0]).all()
        assert len(units.of(sample.key)) == steps
    assert all(units.of(sample.key) is not None for sample in clips(3, first=50))
    assert notes == [f"8 clusters of {sum(map(len, map(units.of, range(1000, 1012)))):,} steps, cepstra: {ready.units}"]


def test_cepstra_have_slopes_and_no_level(tmp_path):
    rows = hubert.cepstra(SPEECH)(clips(2))
    assert all(row.shape[1] == 39 for row in rows)
    assert all(np.abs(row.mean(0)).max() < 1e-4 and np.abs(row.std(0) - 1).max() < 1e-3 for row in rows)
    loud = [one.but(parts=((one.parts[0] // 2).astype(np.int16),)) for one in clips(2)]
    for one, other in zip(rows, hubert.cepstra(SPEECH)(loud), strict=True):
        assert np.abs(one - other).mean() < 0.1


def test_clusters_are_as_good_as_scikit_learns(tmp_path):
    ready = config().ready(given(tmp_path))
    steps = some_steps(ListSource(clips()), config().described(given(tmp_path))[1], 10**6, 0)
    ours = assign(steps, read_units(ready.units).centres)[1].sum()
    theirs = np.mean([KMeans(8, n_init=1, random_state=seed).fit(steps).inertia_ for seed in range(5)])
    assert ours < 1.1 * theirs


def test_what_is_there_is_not_made_again(tmp_path):
    first = config().ready(given(tmp_path))
    assert config().ready(given(tmp_path)).units == first.units
    assert first.ready(None) is first
    other = config(clusters=7).ready(given(tmp_path))
    assert other.units != first.units


def test_units_of_a_former_model(tmp_path):
    """Two vectors for each of our steps: the first is taken."""

    def encode(folder, layer):
        assert (folder, layer) == ("runs/first", 3)
        return "mark", lambda samples: [np.repeat(np.eye(8)[one.key % 8][None], 60, 0) for one in samples]

    ready = config(teacher="runs/first", layer=3).ready(given(tmp_path, encode))
    units = read_units(ready.units)
    found = {key % 8: set(units.of(key).tolist()) for key in range(1000, 1012)}
    assert all(len(some) == 1 for some in found.values()) and len(set.union(*found.values())) == 8


def test_steps_of_joined_frames_have_units_too(tmp_path):
    """Two frames of 10 ms are a step: the cepstra of the first of them."""
    signal = Speech(SpeechConfig(front="mel"))
    ready = config(field=2, stride=2).ready(given(tmp_path, signal=signal))
    units = read_units(ready.units)
    for sample, row in zip(clips(), hubert.cepstra(signal)(clips()), strict=True):
        steps = signal.length(sample) // 2
        assert (units.of(sample.key) == assign(row[::2][:steps], units.centres)[0]).all()


def test_too_little_sound_is_refused(tmp_path):
    with pytest.raises(InputError) as raised:
        config(clusters=5000).ready(given(tmp_path))
    steps = sum((len(one.parts[0]) - 400) // 320 + 1 for one in clips())
    assert str(raised.value) == (
        f"hubert.clusters = 5000: the data has {steps} steps only. "
        f"Give more sound, or set hubert.clusters={steps // 20}."
    )


def test_samples_get_their_units_and_strangers_are_refused(tmp_path):
    ready = config().ready(given(tmp_path))
    arranged = ready.arrange(clips(2), Draw(0))
    assert [len(one.targets["units"]) for one in arranged] == [len(read_units(ready.units).of(k)) for k in (1000, 1001)]
    with pytest.raises(InputError) as raised:
        ready.arrange(clips(1, first=99), Draw(0))
    assert str(raised.value) == f"{ready.units}: does not know a sample of this data. Leave out hubert.units."


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "x").write_text("no units")
    with pytest.raises(InputError) as raised:
        config(units=str(tmp_path / "x")).arrange(clips(1), Draw(0))
    assert str(raised.value).startswith(f"{tmp_path}/x: is no file of units (")


def test_a_file_keeps_units_by_key(tmp_path):
    rows = [(2**63 + 5, np.array([1, 2])), (7, np.array([3])), (2**63 + 5, np.array([9])), (8, np.empty(0, int))]
    write_units(tmp_path / "units", iter(rows), np.zeros((4, 2)))
    units = read_units(str(tmp_path / "units"))
    assert units.of(2**63 + 5).tolist() == [1, 2] and units.of(7).tolist() == [3] and units.of(8).tolist() == []
    assert units.of(9) is None and units.of(2**64 - 1) is None


@pytest.mark.parametrize(
    ("length", "steps", "places"),
    [(6, 3, [0, 2, 4]), (5, 3, [0, 2, 4]), (4, 3, [0, 1, 2]), (2, 4, [0, 0, 1, 1]), (3, 3, [0, 1, 2]), (3, 0, [])],
)
def test_rows_are_taken_at_the_steps(length, steps, places):
    assert every(np.arange(length), steps).tolist() == places


# ------------------------------------------------------------------ loss


def test_the_loss_is_that_of_a_plain_formula():
    objective = contract.build(["hubert"])
    batch = contract.batch_of(objective, sounds.waves(4))
    part = objective.parts["hubert"]
    with torch.no_grad():
        guess = part.guess(objective.backbone(batch).values).numpy()
        table = part.clusters.detach().numpy()
    nats = right = 0
    for row, steps in enumerate(batch["hidden"].numpy()):
        for step in steps.nonzero()[0]:
            cosines = table @ guess[row, step] / np.linalg.norm(table, axis=1) / np.linalg.norm(guess[row, step])
            shares = np.exp(cosines / 0.1) / np.exp(cosines / 0.1).sum()
            unit = int(batch["units"][row, step])
            nats, right = nats - np.log(shares[unit]), right + (shares.argmax() == unit)
    loss = objective(batch)
    assert loss.terms["hubert"].sum.item() == pytest.approx(nats, rel=1e-9)
    assert loss.metrics["hubert_accuracy"].sum.item() == right
    assert loss.terms["hubert"].count == batch["hidden"].sum()


def test_cosines_are_taken_in_full_precision():
    """A cosine rounded to 8 bits is off by up to 0.002, and divided by 0.1 by ten times as much."""
    objective = contract.build(["hubert"], torch.bfloat16)
    batch = contract.batch_of(objective, sounds.waves(4))
    part = objective.parts["hubert"]
    with torch.no_grad():
        features = objective.encode(batch)
        guess = part.guess(at_hidden(features, batch["hidden"])).double()
        alike = normalize(guess, dim=-1) @ normalize(part.clusters.double(), dim=-1).T
        wanted = cross_entropy(alike / 0.1, batch["target"][batch["hidden"]], reduction="sum")
        found = part.loss(features, batch).terms["hubert"].sum
    assert found.dtype == torch.float32 and found.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_only_hidden_steps_have_a_target():
    batch = contract.batch_of(contract.build(["hubert"]), sounds.waves(4))
    assert ((batch["target"] != IGNORE) == batch["hidden"]).all()
    assert torch.equal(batch["target"][batch["hidden"]], batch["units"][batch["hidden"]])


def test_steps_without_a_unit_are_not_guessed():
    chosen = [one.but(targets={"units": one.targets["units"][:-3]}) for one in sounds.waves(4)]
    objective = contract.build(["hubert"])
    batch = contract.batch_of(objective, chosen)
    assert batch.counts["hubert"] == (batch["hidden"] & (batch["units"] >= 0)).sum()
    assert objective(batch).terms["hubert"].sum.isfinite()
