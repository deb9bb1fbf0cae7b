"""What an encoder found without labels: units through time, who sounds alike, and how that goes with labels there are.

Everything here is measured on vectors of steps alone, without training: k-means units (HuBERT, arXiv 2106.07447,
section IV-C for purity and PNMI), ABX on whole clips (ZeroSpeech 2021, arXiv 2011.11588), the nearest clips, clusters
of clips, and the equal error rate of cosines between clips.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from firth.functional.abx import abx_error, distance_table, needed
from firth.functional.cluster import assign, kmeans
from firth.functional.random import hash_bytes, permute
from firth.functional.units import Agreement, agreement, joint, perplexity, runs
from firth.functional.verification import cosines, equal_error
from firth.functional.warping import distances_to
from firth.tasks.verify import trials

# N clips, T steps of a clip, D width, K units

FITTED = 200_000  # steps, at most, that k-means looks at
ROUNDS = 50  # of k-means
CELL = 5  # clips of a speaker and category, at most, that ABX compares: its cost grows with their square
NEAREST = 5  # clips that are named beside a clip
PAIRS = 100_000  # of clips, at most, for the equal error rate
SHOWN = 3  # clips whose neighbours are printed


class Clip(NamedTuple):
    """A clip as an encoder sees it, and what is known of it."""

    name: str
    steps: np.ndarray  # (T, D)
    label: str | None = None  # what is said in all of it: a word, a digit
    speaker: str | None = None

    @property
    def mean(self) -> np.ndarray:
        """(D,)"""
        return self.steps.mean(0) if len(self.steps) else np.zeros(self.steps.shape[1])


@dataclass(frozen=True)
class Discovery:
    """Shares in [0, 1]; what cannot be measured on these clips is left out."""

    clips: int
    steps: int
    units: int  # that were asked for, or as many as there are different steps
    perplexity: float  # units in use, as if all were equally frequent
    run: float  # steps that a unit lasts, on average
    usage: list[float]  # share of the steps of each unit
    agreements: dict[str, Agreement] = field(default_factory=dict)  # of the units, by what they are held against
    abx: dict[str, float] = field(default_factory=dict)  # within, across speakers
    neighbours: dict[str, list[tuple[str, float]]] = field(default_factory=dict)  # clip → (clip, cosine), nearest first
    alike: dict[str, float] = field(default_factory=dict)  # share of clips whose nearest has the same label, speaker
    clusters: dict[str, Agreement] = field(default_factory=dict)  # of whole clips, by what they are held against
    eer: float | None = None  # whether two clips are of one speaker, by the cosine of their means
    sequences: dict[str, list[int]] = field(default_factory=dict, repr=False)  # clip → its units, repetitions merged

    def as_dict(self) -> dict[str, Any]:
        plain = {key: value for key, value in vars(self).items() if key != "sequences" and value not in ({}, None)}
        for key in plain.keys() & {"agreements", "clusters"}:
            plain[key] = {name: one._asdict() for name, one in plain[key].items()}
        return {"kind": "discovery", **plain}

    def lines(self) -> list[tuple[str, str]]:
        """(key, text), as a verb prints them."""
        found = [("Units", f"{self.units} over {self.steps:,} steps of {self.clips:,} clips · perplexity "
                           f"{self.perplexity:.1f} · each lasts {self.run:.1f} steps")]  # fmt: skip
        found += [("", f"against {name}: {told(one)}") for name, one in self.agreements.items()]
        if self.abx:
            errors = (f"{name} speakers {percent(error)}" for name, error in self.abx.items())
            found.append(("ABX", f"error {' · '.join(errors)} (0: all right, 50 %: chance)"))
        found += [("Nearest", f"clip has the same {name}: {percent(share)}") for name, share in self.alike.items()]
        shown = list(self.neighbours.items())[:SHOWN]
        first = "" if self.alike else "Nearest"
        found += [(first if not place else "", f"{name}: {', '.join(other for other, _ in near)}")
                  for place, (name, near) in enumerate(shown)]  # fmt: skip
        found += [("Clusters", f"of clips against {name}: {told(one)}") for name, one in self.clusters.items()]
        if self.eer is not None:
            found.append(("Speakers", f"equal error rate of cosines {percent(self.eer)}"))
        return found


def told(one: Agreement) -> str:
    """purity 61.2 % · cluster purity 9.1 % · PNMI 0.412"""
    return f"purity {percent(one.purity)} · cluster purity {percent(one.cluster_purity)} · PNMI {one.pnmi:.3f}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def discover(
    clips: Sequence[Clip],
    count: int,
    seed: int = 0,
    aligned: Mapping[str, Sequence[str | None]] | None = None,
    kind: str = "phones",
) -> Discovery:
    """Everything that can be measured on these clips.

    aligned: clip → a label at each of so many equal parts of its time, what stands there by forced alignment (None:
    nothing); kind: what such labels are. Raises ValueError where no clip has a step.
    """
    centres = fitted(clips, count, seed)
    units = [assign(clip.steps, centres)[0] if len(clip.steps) else np.empty(0, np.int64) for clip in clips]
    flat = np.concatenate(units)
    merged = [runs(row)[0] for row in units]
    near = nearest(clips)
    return Discovery(
        clips=len(clips),
        steps=len(flat),
        units=len(centres),
        perplexity=perplexity(flat, len(centres)),
        run=len(flat) / max(sum(map(len, merged)), 1),
        usage=(np.bincount(flat, minlength=len(centres)) / len(flat)).tolist(),
        agreements=agreements(clips, units, len(centres), aligned or {}, kind),
        abx=abx(clips, seed),
        neighbours={clips[i].name: [(clips[j].name, cosine) for j, cosine in row] for i, row in enumerate(near)},
        alike=alike(clips, near),
        clusters=clusters(clips, seed),
        eer=speaker_error(clips),
        sequences={clip.name: row.tolist() for clip, row in zip(clips, merged, strict=True)},
    )


def fitted(clips: Sequence[Clip], count: int, seed: int) -> np.ndarray:
    """(K, D) centres over all steps, or FITTED of them."""
    steps = np.concatenate([clip.steps for clip in clips]) if clips else np.empty((0, 1))
    if not len(steps):
        raise ValueError("fitted: no clip has a step. Give longer clips.")
    if len(steps) > FITTED:
        steps = steps[np.sort(permute(np.arange(FITTED), len(steps), seed, 0))]
    return kmeans(steps, count, seed, ROUNDS).centres


# ------------------------------------------------------------------ against labels


def agreements(
    clips: Sequence[Clip],
    units: Sequence[np.ndarray],
    count: int,
    aligned: Mapping[str, Sequence[str | None]],
    kind: str,
) -> dict[str, Agreement]:
    """Units against the label and the speaker of their clip, and against what is aligned with it."""
    found = {}
    for name in ("label", "speaker"):
        rows = [[getattr(clip, name)] * len(own) for clip, own in zip(clips, units, strict=True)]
        if several(getattr(clip, name) for clip in clips):
            found[f"{name}s of whole clips"] = held_against(units, rows, count)
    rows = [spread(aligned.get(clip.name, ()), len(own)) for clip, own in zip(clips, units, strict=True)]
    if several(label for row in rows for label in row):
        found[f"{kind} (by forced alignment)"] = held_against(units, rows, count)
    return found


def several(labels) -> bool:
    """Whether there is something to tell apart."""
    return len(set(labels) - {None}) > 1


def held_against(units: Sequence[np.ndarray], rows: Sequence[Sequence[str | None]], count: int) -> Agreement:
    """Units and labels of the steps of each clip; steps without a label are left out."""
    numbers = {label: number for number, label in enumerate(sorted({one for row in rows for one in row if one}))}
    labels = np.array([numbers[one] if one else -1 for row in rows for one in row], np.int64)
    return agreement(joint(np.concatenate(units), labels, (count, len(numbers))))


def spread(labels: Sequence[str | None], steps: int) -> list[str | None]:
    """Labels of equal parts of a clip, at so many steps: each takes what stands at its middle."""
    if not labels:
        return [None] * steps
    return [labels[int((step + 0.5) / steps * len(labels))] for step in range(steps)]


# ------------------------------------------------------------------ clips among themselves


def abx(clips: Sequence[Clip], seed: int) -> dict[str, float]:
    """The errors within and across speakers; one of them, or neither, where labels or speakers are not known."""
    chosen = [clip for clip in thinned(clips, seed) if clip.label is not None and len(clip.steps)]
    labels, speakers = [str(clip.label) for clip in chosen], [clip.speaker or "" for clip in chosen]
    found: dict[str, float] = {}
    for name, across in (("within", False), ("across", True)):
        if not several(labels) or (across and not several(speakers)):
            continue
        table = distance_table([clip.steps for clip in chosen], needed(speakers, across), distances_to)
        error = abx_error(table, labels, speakers, across)
        found |= {} if np.isnan(error) else {name: error}
    return found


def thinned(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """At most CELL clips of each speaker and label, drawn by their names."""
    cells: dict[tuple, list[Clip]] = defaultdict(list)
    for clip in sorted(clips, key=lambda clip: hash_bytes(f"{seed} {clip.name}".encode())):
        cells[clip.speaker, clip.label].append(clip)
    kept = {id(clip) for cell in cells.values() for clip in cell[:CELL]}
    return [clip for clip in clips if id(clip) in kept]


def nearest(clips: Sequence[Clip]) -> list[list[tuple[int, float]]]:
    """For each clip the clips with the highest cosine between means, the nearest first."""
    means = centred(clips)
    found = []
    for place, mean in enumerate(means):
        similar = means @ mean
        similar[place] = -np.inf
        order = np.argsort(-similar, kind="stable")[: min(NEAREST, len(clips) - 1)]
        found.append([(int(other), float(similar[other])) for other in order])
    return found


def centred(clips: Sequence[Clip]) -> np.ndarray:
    """(N, D): means of clips less the mean of all, of length 1: what all clips share tells none apart."""
    means = np.stack([clip.mean for clip in clips])
    means = means - means.mean(0)
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)


def alike(clips: Sequence[Clip], near: Sequence[Sequence[tuple[int, float]]]) -> dict[str, float]:
    """How many clips have their label, and their speaker, in common with the nearest one."""
    found = {}
    for name in ("label", "speaker"):
        pairs = [(getattr(clips[i], name), getattr(clips[row[0][0]], name)) for i, row in enumerate(near) if row]
        known = [one == other for one, other in pairs if one is not None]
        if several(one for one, _ in pairs):
            found[name] = float(np.mean(known))
    return found


def clusters(clips: Sequence[Clip], seed: int) -> dict[str, Agreement]:
    """k-means of whole clips, as many clusters as there are speakers or labels, held against these."""
    found = {}
    for name in ("label", "speaker"):
        known = [clip for clip in clips if getattr(clip, name) is not None]
        if not several(getattr(clip, name) for clip in known):
            continue
        means, count = centred(known), len({getattr(clip, name) for clip in known})
        own = assign(means, kmeans(means, count, seed, ROUNDS).centres)[0]
        found[f"{name}s"] = held_against([own], [[getattr(clip, name) for clip in known]], count)
    return found


def speaker_error(clips: Sequence[Clip]) -> float | None:
    """The equal error rate over pairs of clips; None where speakers are not known, or all pairs are of one kind."""
    known = [clip for clip in clips if clip.speaker is not None]
    pairs = trials([str(clip.speaker) for clip in known], PAIRS)
    if not pairs.same.any() or pairs.same.all():
        return None
    return equal_error(cosines(centred(known), pairs.first, pairs.second), pairs.same).rate
