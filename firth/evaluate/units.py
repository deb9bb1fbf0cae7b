"""`firth units`: what a pre-trained encoder of sound found without labels, as a report and as a file of units.

The units of a clip, repetitions merged, are written as words (`u7 u12 …`), each clip a text: `firth pretrain units.txt
--objective next-token` is a language model over sound (arXiv 2102.01192), and `firth predict` writes on in units.
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from firth.data.arrays import NONE, ArrayCorpus, ArrayRows, open_corpus
from firth.data.config import Data, listed
from firth.data.media import rows_of
from firth.data.records import Record, Where
from firth.errors import InputError, did_you_mean
from firth.evaluate.discovery import Clip, Discovery, discover
from firth.evaluate.predict import load
from firth.functional.cells import label_of
from firth.functional.random import hash_bytes
from firth.interop.folder import open_folder
from firth.model.backbones import backbone_of
from firth.objective import quiet
from firth.recipe import Model, Recipe, apply_settings
from firth.signal import Batch, Media, Sample, answered
from firth.tasks import transcribe
from firth.train import build
from firth.train.adaptation import open_signal, refuse_unfinished
from firth.train.folder import free_place, whole_file
from firth.train.log import Show, Silent

# B clips, T steps, D width

UNITS, CLIPS = 100, 1000
SPEAKERS = ("speaker", "speaker_id", "client_id")  # columns of speakers, by usual names


class Source(NamedTuple):
    """An encoder of sound, in evaluation mode, and the signal that feeds it."""

    name: str
    backbone: nn.Module
    signal: Media
    layer: int  # whose output is looked at, 0: the embedding

    def steps(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """float32 (T, D) of each sample, padding left out."""
        return answered(self._steps, self.signal, samples)

    @torch.inference_mode()
    def _steps(self, batch: Batch) -> list[np.ndarray]:
        device = next(self.backbone.parameters()).device
        with quiet(self.backbone):
            features = self.backbone(batch.to(device), layers=True)
        values = [*features.layers[:-1], features.values][self.layer].float().cpu().numpy()  # (B, T, D)
        real = np.full(len(values), values.shape[1])
        if features.padding is not None:
            real = (~features.padding).sum(1).cpu().numpy()
        return [row[:size] for row, size in zip(values, real, strict=True)]


def units(
    model: str | Path,
    paths: str | Path | Iterable[str | Path],
    count: int = UNITS,
    layer: int | None = None,
    label: str | None = None,
    speaker: str | None = None,
    aligner: str | Path | None = None,
    most: int = CLIPS,
    seed: int = 0,
    settings: Iterable[str] | Mapping[str, Any] = (),
    device: str = "auto",
    out: str | Path | None = None,
    dry_run: bool = False,
    show: Show | None = None,
) -> Discovery:
    """The report on at most `most` clips, drawn by their names.

    layer: whose output is looked at, 0 the embedding; None: the middle one. label, speaker: columns of tables that say
    what a clip is of; None: the folder, and a usual name. aligner: a run of `transcribe`; then `label` names the column
    of transcripts, and units are held against what that run aligns. out: a file of units, one clip a line,
    which a dry run does not write. Raises InputError for a model or data that cannot be used, and for an `out` that is
    there already.
    """
    place = free_place(out, streams=True) if out else None
    show, given = show or Silent(), list(listed(paths))
    source = opened(model, layer, settings, device)
    records = read(given, label, source.signal, most, seed, aligner is not None, show)
    rows = Rows(given, type(source.signal), label, speaker)
    show.line("Model", f"{source.name}, layer {source.layer}")
    clips = [rows.clip(record, steps) for record, steps in zip(records, source.steps(samples_of(records)), strict=True)]
    refuse_silence(clips, given)
    kind, aligned = align(aligner, records, rows, device) if aligner else ("", {})
    if aligner:
        clips = [clip._replace(label=None) for clip in clips]  # transcripts are no categories of clips
    found = discover(clips, count, seed, aligned, kind)
    if place and not dry_run:
        write(place, found, show)
    for key, text in found.lines():
        show.line(key, text)
    if not place:
        show.line("Next", f"firth units {shlex.join([str(model), *map(str, given)])} --out units.txt")
    return found


def opened(model: str | Path, layer: int | None, settings, device: str) -> Source:
    """The encoder of a run or model folder. Raises InputError for one that hears nothing, or has no such layer."""
    refuse_unfinished(model)
    folder = open_folder(model)
    recipe = Recipe(device=device, signal=folder.facts.get("signal", "text"), model=Model(source=str(model)))
    recipe = apply_settings(recipe, settings)
    signal = open_signal(recipe)
    if "time" not in signal.facts.offers:
        raise InputError(
            model, f"is a model of {signal.name}, which has no time", "Give the folder of a model of sound."
        )
    backbone = backbone_of(folder.shape, signal.embed(folder.shape))
    own = {name.removeprefix("backbone."): one for name, one in folder.state.items() if name.startswith("backbone.")}
    backbone.load_state_dict(own)
    layers = folder.shape.layers
    if layer is not None and not 0 <= layer <= layers:
        do = "Choose one of them; the middle ones know most of what is said."
        raise InputError(f"--layer {layer}", f"{model} has layers 0 (the embedding) to {layers}", do)
    at = (layers + 1) // 2 if layer is None else layer
    return Source(str(model), backbone.eval().to(build.device_of(recipe)), signal, at)  # type: ignore[arg-type]


def read(
    paths: Sequence[str], label: str | None, signal: Media, most: int, seed: int, whole: bool, show: Show
) -> list[Record]:
    """Some clips as records, with labels where there are some; broken files are named and left out.

    whole: a recording is one clip, however long; else it is cut as for pre-training, and only what is chosen is read.
    """
    config = Data(paths=tuple(paths), label=label, duplicates="keep", held_out=NONE)
    corpus = open_corpus(config, None, signal.config, signal=signal, show=show)
    if whole:
        records = list(corpus.records())
        return [records[place] for place in chosen([one.text for one in records], most, seed)]
    return windows(corpus, most, seed)


def windows(corpus: ArrayCorpus, most: int, seed: int) -> list[Record]:
    """Some of the windows that pre-training sees; of a recording that has several, with their number."""
    shard = corpus.shard
    rows = ArrayRows(shard, np.arange(len(shard)), corpus.signal.window)
    files = [rows.name(place) for place in range(len(rows))]
    names, several, seen = [], Counter(files), Counter[str]()
    for file in files:
        seen[file] += 1
        names.append(f"{file} ({seen[file]})" if several[file] > 1 else file)
    places = chosen(names, most, seed)
    found = zip(places, rows.get(np.array(places, np.int64)), strict=True)
    return [
        Record(
            names[place], None if one.label is None else shard.classes[one.label], Where(files[place]), parts=one.parts
        )
        for place, one in found
    ]


def chosen(names: Sequence[str], most: int, seed: int) -> list[int]:
    """Places of at most so many, drawn by their names, ascending."""
    order = sorted(range(len(names)), key=lambda i: hash_bytes(f"{seed} {names[i]}".encode("utf-8", "replace")))
    return sorted(order[:most])


def samples_of(records: Sequence[Record]) -> list[Sample]:
    return [Sample((record.parts[0],), number) for number, record in enumerate(records)]  # type: ignore[arg-type]


class Rows:
    """What tables say of clips beside their sound: the columns of labels and speakers."""

    def __init__(self, paths: Sequence[str], signal: type[Media], label: str | None, speaker: str | None):
        self.rows = dict(rows_of(paths, signal))
        names = {name for row in self.rows.values() for name in row}
        for option, given in (("--label", label), ("--speaker", speaker)):
            if given is not None and self.rows and given not in names:
                hint = f"{did_you_mean(given, names)}{option} can be {', '.join(f'`{one}`' for one in sorted(names))}."
                raise InputError(paths[0], f"has no column `{given}`", hint)
        self.label = label
        self.speaker = speaker or next((name for name in SPEAKERS if name in names), None)

    def clip(self, record: Record, steps: np.ndarray) -> Clip:
        row = self.rows.get(str(record.where), {})
        owner = row.get(self.speaker) if self.speaker else None
        return Clip(record.text, steps, record.label, None if owner is None else label_of(owner))

    def transcript(self, record: Record) -> str:
        """Raises InputError for a clip without one."""
        said = self.rows.get(str(record.where), {}).get(self.label) if self.label else record.label
        if said is None:
            do = "Name the column of transcripts: --label text."
            raise InputError(str(record.where), "has no transcript to align", do)
        return label_of(said)


def refuse_silence(clips: Sequence[Clip], paths: Sequence[str]) -> None:
    """Raises InputError where no clip is long enough for a step."""
    if not any(len(clip.steps) for clip in clips):
        raise InputError(paths[0], "holds no clip that is long enough for a step", "Give longer recordings.")


# ------------------------------------------------------------------ forced alignment


def align(model, records: Sequence[Record], rows: Rows, device: str) -> tuple[str, dict[str, list[str | None]]]:
    """What units are, and clip → the unit of its transcript at each of its steps, as a run of `transcribe` aligns them.

    Steps between two units go to the nearer one; before the first and after the last there is none.
    """
    loaded = load(model, (), device)
    if loaded.name != "transcribe":
        do = f"Adapt one: firth adapt {model} LABELS --task transcribe."
        raise InputError(model, f"answers with {loaded.name}, and transcripts are to be aligned", do)
    part = transcribe.part_of(loaded.objective)
    examples = [part.config.example(record._replace(label=rows.transcript(record))) for record in records]
    heard = transcribe.places(loaded.objective, loaded.signal, examples)
    sizes = transcribe.over(part, loaded.signal, examples, len)
    found = {one.text: filled(own, size) for one, own, size in zip(examples, heard, sizes, strict=True) if own}
    return part.config.units, found


def filled(heard: Sequence[transcribe.Heard], steps: int) -> list[str | None]:
    """The unit at each of so many steps."""
    found: list[str | None] = [None] * steps
    for number, one in enumerate(heard):
        before = heard[number - 1].end if number else one.begin
        after = heard[number + 1].begin if number + 1 < len(heard) else one.end
        for step in range((before + one.begin + 1) // 2, (one.end + after + 1) // 2):
            found[step] = one.unit
    return found


# ------------------------------------------------------------------ the file


def write(out: Path, found: Discovery, show: Show) -> None:
    """JSON lines: {"text": "u7 u12 …", "clip": name}; in a .txt file the units alone, a blank line after each clip.

    Clips too short for a unit are left out.
    """
    texts = {name: " ".join(f"u{unit}" for unit in row) for name, row in found.sequences.items() if row}
    if out.suffix == ".txt":
        lines = [f"{text}\n\n" for text in texts.values()]
    else:
        lines = [f"{json.dumps({'text': text, 'clip': name}, ensure_ascii=False)}\n" for name, text in texts.items()]
    with whole_file(out) as file:
        file.write("".join(lines))
    show.line("Saved", f"{out} · firth pretrain {out} --objective next-token learns what follows what")
