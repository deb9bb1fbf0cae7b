"""Sound as a signal: recordings of any kind become clips of one rate, clips become log-mel frames or waves.

Log-mel frames as Kaldi's (functional/mel.py), for encoders that are light; waves as wav2vec 2.0 reads them (arXiv
2006.11477, section 4.2): mean 0 and variance 1 in each clip. The objective's needs decide which.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from math import log2
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from firth.errors import InputError
from firth.functional import mel, segments
from firth.functional.mel import Grid, frame_count
from firth.functional.picture import spectrograms
from firth.functional.sound import padded, standardised, to_int16
from firth.signal import Batch, Encoded, Examiner, Facts, Look, Media, Rung, Sample, SignalConfig, Unit, stack_targets
from firth.signals import _audio
from firth.signals._audio import Heard, Source
from firth.signals._recordings import SPEED, Recordings, amount, channel_words

# B clips, N samples, T frames, M bands

Note = Callable[[str, str], None]  # what was found in a file, what to do about it

WHOLE = 60.0  # seconds of a recording that somebody asks about: it is cut beyond
TOGETHER = 64.0  # seconds of sound that a step of pre-training sees
LEAST = 16.0  # seconds that it sees where the run would else have fewer than STEPS of them
STEPS = 1_500
BATCHES = (4, 8, 16, 32, 64)  # clips of a step
SIZES = ("tiny", "mini", "small", "medium")
HOURS = (0, 2, 100, 500)  # of sound that a run hears at least, for each size: round figures, not yet measured
# Seconds of sound a second for each size, of shapes over frames and over samples: of mini as SPEED, and from the 63 of
# wav2vec 2.0 in transformers (4 layers x 192, bf16); of the others by the multiplications of the network.
FRAMES, SAMPLES = (1_600, SPEED, 50, 25), (140, 38, 9, 6)
SHOWN = 1.5  # seconds of a clip that a person sees
MANY_CLIPPED = 0.001  # share of samples at the end of their range, from which a recording is named
OPENS = {  # what transformers must know to read waves as they were read here
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_value": 0.0,
    "padding_side": "right",
    "return_attention_mask": True,
}


def rungs(rates: tuple[float, ...]) -> tuple[Rung, ...]:
    """The sizes of a shape, in seconds of sound."""
    return tuple(Rung(size, 3600.0 * hours, rate) for size, hours, rate in zip(SIZES, HOURS, rates, strict=True))


class Config(SignalConfig):
    """The table `speech`."""

    rate: int = Field(16_000, ge=4_000, le=192_000, description="samples a second that all recordings are brought to")
    front: Literal["mel", "wave"] = Field(
        "mel", description="what a model reads, log-mel frames or samples: by its shape"
    )
    mels: int = Field(80, ge=4, le=512, description="bands of a log-mel frame")
    window: float = Field(25.0, gt=0, description="milliseconds of a frame")
    hop: float = Field(10.0, gt=0, description="milliseconds from frame to frame")
    low: float = Field(20.0, ge=0, description="Hz: the lower edge of the lowest band")
    high: float = Field(0.0, ge=0, description="Hz: the upper edge of the highest band; 0: half the rate")
    normalise: Literal["level", "bands", "none"] = Field(
        "level", description="mean 0 and deviation 1 in each clip: of all together, or (mel) of each band"
    )
    longest: float = Field(10.0, gt=0, description="seconds of a sample; longer segments are cut evenly")
    segment: float = Field(20.0, gt=0, description="seconds beyond which a recording is cut, where it is quietest")
    trim: bool = Field(False, description="leave out silence at the edges of recordings, and segments of silence")
    loudness: bool = Field(False, description="bring recordings to one loudness, -26 dB under full scale")

    @classmethod
    def suited(cls, needs: frozenset[str]) -> dict[str, Any]:
        return {"front": "wave"} if "wave" in needs else {}

    @property
    def in_words(self) -> bool:
        return False

    @property
    def grid(self) -> Grid:
        window, hop = (max(1, round(self.rate * time / 1000)) for time in (self.window, self.hop))
        return Grid(self.rate, window, hop, self.mels, self.low, self.high)


SpeechConfig = Config  # inside the class, Config is the class attribute


class Speech(Media):
    """Clips of one rate, int16 as they are kept, float where a model reads them."""

    Config: ClassVar[type[SignalConfig]] = Config
    name: ClassVar[str] = "speech"
    suffixes: ClassVar[frozenset[str]] = frozenset(_audio.SUFFIXES)
    readable: ClassVar[str] = ".wav, .flac, .mp3, .ogg, .opus, .aiff"
    dtype: ClassVar[str] = "int16"
    streams: ClassVar[bool] = True
    objective: ClassVar[tuple[str, ...]] = ("masked-frames",)
    shape: ClassVar[str] = "frames"
    ladders: ClassVar[Mapping[str, tuple[Rung, ...]]] = {
        **dict.fromkeys(("frames", "causal-frames"), rungs(FRAMES)),
        **dict.fromkeys(("wav2vec2", "hubert"), rungs(SAMPLES)),
    }
    unit: ClassVar[Unit] = Unit("clip", "audio-seconds", given="SOUND.wav", labelled="LABELLED/")
    config: SpeechConfig

    def __init__(self, config: SpeechConfig):
        self.config = config

    @property
    def facts(self) -> Facts:
        wave = self.config.front == "wave"
        offers = frozenset({"wave" if wave else "frames", "pooled", "time"})
        return Facts(offers=offers, bands=0 if wave else self.config.mels)

    # ------------------------------------------------------------------ files

    @classmethod
    def look(cls, source: Source) -> Look:
        head = _audio.header(source)
        return Look(head.form, (head.samples,), {"rate": head.rate, "channels": head.channels})

    @classmethod
    def fit(cls, looks: Iterable[Look], config: SpeechConfig) -> Self:
        return cls(config)

    def pieces(self, source: Source, note: Note | None = None) -> Iterator[np.ndarray]:
        """int16 (n,) segments of a recording, one after the other. Raises Unreadable."""
        heard, config = Heard(), self.config
        blocks = _audio.blocks(source, config.rate, heard)
        for segment in segments.segments(blocks, config.rate, config.segment):
            if len(changed := self._changed(segment)):
                yield to_int16(changed)
        for what, do in remarks(heard):
            if note:
                note(what, do)

    def _changed(self, wave: np.ndarray) -> np.ndarray:
        """Without silence at its edges, at one loudness, where that is asked for."""
        wave = segments.trimmed(wave, self.config.rate) if self.config.trim else wave
        return segments.levelled(wave) if self.config.loudness else wave

    def decode(self, source: Source) -> np.ndarray:
        """int16 (n,): a recording in one piece. Raises Unreadable."""
        return to_int16(self._changed(_audio.whole(source, self.config.rate)))

    @property
    def form(self) -> tuple[int, ...]:
        return (-1,)

    @property
    def window(self) -> int:
        return max(1, round(self.config.longest * self.config.rate))

    @property
    def whole(self) -> int:
        return round(max(WHOLE, self.config.segment) * self.config.rate)

    def span(self, begin: int, end: int) -> str:
        """0:12:20–0:12:38"""
        return "–".join(str(timedelta(seconds=round(place / self.config.rate))) for place in (begin, end))

    @property
    def decoding(self) -> dict[str, Any]:
        return self.config.model_dump(include={"rate", "segment", "trim", "loudness"})

    def told(self, looks: list[Look], values: int) -> list[str]:
        """["2.6 h", "16,000 Hz", "mono"]"""
        rates = Counter(one.told["rate"] for one in looks).most_common(3)
        channels = Counter(one.told["channels"] for one in looks)
        shown = " and ".join(f"{rate:,} Hz" for rate, _ in rates)
        return [amount(values / self.config.rate), shown, channel_words(channels)]

    @classmethod
    def examiner(cls, config: SpeechConfig) -> Examiner:
        return Recordings(config.rate)

    # ------------------------------------------------------------------ batches

    def length(self, sample: Sample) -> int:
        """Frames, or samples of sound."""
        return self._read(len(sample.parts[0]))

    def _read(self, size: int) -> int:
        """What a model reads of so many samples of sound: frames, or these."""
        return size if self.config.front == "wave" else int(frame_count(size, self.config.grid))

    def extent(self, lengths: np.ndarray | None) -> float:
        """Seconds of a sample, in the mean."""
        mean = self.window if lengths is None or not len(lengths) else float(np.mean(lengths))
        return max(mean, 1.0) / self.config.rate

    def longest(self, lengths: np.ndarray | None) -> int:
        """Frames, or samples of sound."""
        return self._read(self.window if lengths is None or not len(lengths) else int(np.max(lengths)))

    def batch_for(self, lengths: np.ndarray | None, seen: float | None = None) -> int | None:
        """About TOGETHER seconds, in 4 to 64 clips: short clips are many, and long ones few. Where the run sees little,
        fewer seconds, so that it has STEPS steps, down to LEAST."""
        if lengths is None or not len(lengths):
            return None
        mean = self.extent(lengths)
        seconds = TOGETHER if seen is None else min(TOGETHER, max(LEAST, seen * mean / STEPS))
        clips = seconds / mean
        sizes = [size for size in BATCHES if size <= max(len(lengths), BATCHES[0])]
        return min(sizes, key=lambda size: abs(log2(clips / size)))

    def stack(self, samples: list[Sample]) -> Batch:
        """`frames` (B, T, M) and `frame_pad`, or `wave` (B, N) and `pad`; the latter only where rows are uneven."""
        wave, lengths = padded([sample.parts[0] for sample in samples])
        batch = Batch(stack_targets(samples), seconds=lengths / self.config.rate)
        if self.config.front == "wave":
            batch["wave"] = wave if self.config.normalise == "none" else standardised(wave, lengths)
            return _padded(batch, "pad", wave.shape[1], lengths)
        counts = frame_count(lengths, self.config.grid)
        if all(sample.key in self.known for sample in samples):  # most of what a batch costs, for nobody
            frames = wave.new_zeros(len(wave), int(frame_count(wave.shape[1], self.config.grid)), self.config.mels)
        else:
            frames = mel.normalised(mel.log_mel(wave, lengths, self.config.grid), counts, self.config.normalise)
        batch["frames"] = frames
        return _padded(batch, "frame_pad", frames.shape[1], counts)

    def encode(self, inputs: list[Any]) -> list[Encoded]:
        """Samples of each input: an array as it is, what `array` of it says, a path, or the bytes of a file."""
        return [Encoded(self._samples(getattr(one, "array", one))) for one in inputs]

    def _samples(self, one: Any) -> np.ndarray:
        return one if isinstance(one, np.ndarray) else self.decode(one)

    @property
    def sizes(self) -> dict[str, Any]:
        return {"bands": self.facts.bands}

    def embed(self, shape) -> nn.Module:
        """Frames (B, T, M) or waves (B, N) → steps (B, S, D)."""
        from firth.model.sound import embedding_of

        return embedding_of(shape)

    def picture(self, sample: Sample) -> np.ndarray:
        """(M, T, 3) uint8: the log-mel frames of the beginning."""
        wave, _ = padded([sample.parts[0][: round(SHOWN * self.config.rate)]])
        return spectrograms([mel.log_mel(wave, grid=self.config.grid)[0].numpy()], scale=1)

    # ------------------------------------------------------------------ beside a model

    def save(self, folder) -> None:
        """preprocessor_config.json: of waves as transformers' Wav2Vec2FeatureExtractor has it."""
        folder, config = Path(folder), self.config
        folder.mkdir(parents=True, exist_ok=True)
        theirs = OPENS | {"sampling_rate": config.rate, "do_normalize": config.normalise != "none"}
        kept = (theirs if config.front == "wave" else {}) | {"firth": config.model_dump(mode="json")}
        (folder / "preprocessor_config.json").write_text(json.dumps(kept, indent=2) + "\n", "utf-8")

    @classmethod
    def open(cls, folder, config: SpeechConfig | None = None) -> Self:
        """What a model folder says of its sound; of `config` only the length of samples is taken."""
        stored = _told(Path(folder) / "preprocessor_config.json")
        if "firth" in stored:
            own = Config(**stored["firth"])
        else:
            level: Literal["level", "none"] = "level" if stored.get("do_normalize", True) else "none"
            own = Config(rate=stored.get("sampling_rate", 16_000), front="wave", normalise=level)
        return cls(own if config is None else own.model_copy(update={"longest": config.longest}))


def _padded(batch: Batch, name: str, size: int, lengths: Tensor) -> Batch:
    """With (B, size) bool under `name`, True where there is nothing; only where there is such a place."""
    if int(lengths.min()) < size:
        batch[name] = torch.arange(size) >= lengths[:, None]
    return batch


def remarks(heard: Heard) -> Iterator[tuple[str, str]]:
    """What a person should know of a recording that was read."""
    if heard.no_numbers:
        what = f"{heard.no_numbers:,} of {heard.samples:,} samples are no numbers, and count as silence"
        yield what, "Look at how it was made."
    if heard.clipped > MANY_CLIPPED * heard.samples:
        yield f"{heard.clipped / heard.samples:.1%} of its samples are clipped", "Record it at a lower level."
    if heard.samples and heard.peak == 0:
        yield "is silent throughout", "Leave it out."


def _told(path: Path) -> dict[str, Any]:
    """The JSON of a file. Raises InputError where there is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        do = "Give the folder of a model for sound; it has a preprocessor_config.json."
        raise InputError(path, f"cannot be read ({error})", do) from None
