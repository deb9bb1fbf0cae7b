"""Discovery on clips whose units, words and speakers are known because they were made so."""

import numpy as np
import pytest

from firth.evaluate import discovery
from firth.evaluate.discovery import Clip, discover

WIDTH = 12
WORDS = {"one": [0, 1, 2], "two": [3, 1, 4], "three": [5, 0, 3]}  # sounds, by number
SPEAKERS = ("ann", "bob")


def clip(word: str, speaker: str, number: int, noise: float = 0.01, own: float = 0.3) -> Clip:
    """Each sound is a direction that lasts a few steps; a speaker adds a direction of their own."""
    source = np.random.default_rng([number, len(word), ord(speaker[0])])
    sounds = np.repeat(WORDS[word], source.integers(2, 6, 3))
    steps = np.eye(WIDTH)[sounds] + noise * source.normal(size=(len(sounds), WIDTH))
    steps[:, 10 + SPEAKERS.index(speaker)] += own
    return Clip(f"{word}_{speaker}_{number}.wav", steps, word, speaker)


def clips(count: int = 6, **options) -> list[Clip]:
    return [clip(word, speaker, i, **options) for word in WORDS for speaker in SPEAKERS for i in range(count)]


def test_clips_made_of_sounds_give_their_sounds_back():
    found = discover(clips(own=0.0), 6)
    assert found.units == 6 and found.clips == 36
    assert found.perplexity > 5
    sounds = {name: len(row) for name, row in found.sequences.items()}
    assert set(sounds.values()) == {3}  # every word is three sounds
    assert len({tuple(row) for row in found.sequences.values()}) == 3
    assert sum(found.usage) == pytest.approx(1)


def test_words_and_speakers_are_told_apart_where_they_sound_apart():
    found = discover(clips(own=0.3), 12)
    assert found.abx["within"] == 0 and found.abx["across"] == 0
    assert found.alike["label"] > 0.9
    assert found.eer is not None and 0 <= found.eer <= 0.5
    loud = discover(clips(own=5.0), 12)
    assert loud.clusters["speakers"].purity == 1 and loud.alike["speaker"] == 1


def test_noise_alone_is_chance():
    source = np.random.default_rng(0)
    made = [one._replace(steps=source.normal(size=(8, WIDTH))) for one in clips(6)]
    found = discover(made, 4)
    assert 0.35 < found.abx["within"] < 0.65 and 0.35 < found.abx["across"] < 0.65
    assert found.eer is not None and 0.4 < found.eer < 0.6


def test_without_labels_there_is_still_a_unit_report():
    bare = [one._replace(label=None, speaker=None) for one in clips(3)]
    found = discover(bare, 5)
    assert not found.abx and not found.agreements and not found.alike and not found.clusters and found.eer is None
    assert len(found.neighbours) == 18 and all(len(near) == 5 for near in found.neighbours.values())
    assert next(key for key, _ in found.lines()) == "Units"


def test_what_is_aligned_is_held_against_the_units():
    made = clips(4, own=0.0)
    exact = {one.name: [str(np.argmax(step[:10])) for step in one.steps] for one in made}
    found = discover(made, 6, aligned=exact)
    assert found.agreements["phones (by forced alignment)"].pnmi == pytest.approx(1, abs=0.05)
    assert found.agreements["phones (by forced alignment)"].purity > found.agreements["labels of whole clips"].purity


@pytest.mark.parametrize(
    ("labels", "steps", "spread"),
    [(["a", "b"], 4, ["a", "a", "b", "b"]), (["a", None, "b"], 3, ["a", None, "b"]), ([], 2, [None, None]),
     (["a", "b", "c", "d"], 2, ["b", "d"]), (["a"], 0, [])],
)  # fmt: skip
def test_labels_are_spread_over_the_time_of_a_clip(labels, steps, spread):
    assert discovery.spread(labels, steps) == spread


def test_the_same_seed_finds_the_same():
    one, other = discover(clips(3), 5, seed=3), discover(clips(3), 5, seed=3)
    assert one.as_dict() == other.as_dict() and one.sequences == other.sequences


def test_a_clip_without_steps_and_clips_of_one_speaker():
    made = [*clips(2), Clip("silent.wav", np.empty((0, WIDTH)))]
    assert discover(made, 4).clips == 13
    alone = discover([one for one in clips(3) if one.speaker == "ann"], 4)
    assert "across" not in alone.abx and "within" in alone.abx and alone.eer is None
    with pytest.raises(ValueError, match="no clip has a step"):
        discover([Clip("silent.wav", np.empty((0, WIDTH)))], 4)


def test_what_is_said_of_it():
    found = discover(clips(3), 6)
    text = "\n".join(f"{key:<8} {text}" for key, text in found.lines())
    assert "6 over" in text and "against labels of whole clips: purity" in text and "ABX" in text
    told = found.as_dict()
    assert told["kind"] == "discovery" and "sequences" not in told
    assert set(told["agreements"]["labels of whole clips"]) == {"purity", "cluster_purity", "pnmi"}
