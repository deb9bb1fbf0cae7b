"""Speech: four objectives, fifteen minutes of one core each on the training recordings, and the suite over them.

Heard are the training parts of both sets, digits and sentences, without a label: nothing of the test speakers of the
sentences, and no test clip of the digits. All six speakers of the digits are heard: what `digits-unheard` leaves out is
left out of the adaptation only.
"""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, ONE, Job, firth, program, settings
from firth.evaluate.suite import Part, written

OBJECTIVES = ("next-frame", "masked-frames", "wav2vec2", "hubert")
SIZE = "4x256"  # of all, so that methods differ and not networks
CURVE = "hubert"  # whose trainings are drawn
LIKE = ("--size", SIZE, "--budget", "15m", *ONE)
SHAPES = {"wav2vec2": "frames", "hubert": "frames"}  # in such minutes samples would be heard twice at most


def jobs(data: Path, kept: Path) -> list[Job]:
    """Test speakers and test clips are in no pre-training: the tables name the training part."""
    speech = data / "speech"
    heard = speech / "speechocean762_train.jsonl", digits(speech, kept)
    made = [
        Job(f"speech-{one}", firth("pretrain", *heard, "--objective", one, *shape_of(one), *LIKE, "--out",
                                   kept / f"speech-{one}"), cores=1)
        for one in OBJECTIVES
    ]  # fmt: skip
    runs = [kept / f"speech-{one}" for one in OBJECTIVES]
    suite = firth("compare", *runs, "--suite", "speech", "--seeds", 3, "--jobs", 2, "--out", kept / "speech-suite")
    depends = (*ADAPTING, *COMPARING, "firth/evaluate/suite.py", "firth/evaluate/suites/*.toml")
    figure = kept / "loss-against-steps-of-sound.svg"
    tasks = [f"{title}={kept / 'speech-suite' / task / f'speech-{CURVE}' / 'comparison.json'}"
             for title, task in (("Digits", "digits"), ("Phones", "phones"))]  # fmt: skip
    curves = Job("speech-curves", program("curves", *tasks, "--out", figure), (*depends, "benchmarks/curves.py"))
    return [*made, Job("speech-suite", suite, depends), curves]


def shape_of(objective: str) -> list[str]:
    return settings(f"model.shape={SHAPES[objective]}") if objective in SHAPES else []


def digits(speech: Path, kept: Path) -> Path:
    """A table of the training clips of the digits, beside links to the recordings; written where the data is there."""
    place = kept / "speech-heard" / "fsdd.jsonl"
    if (speech / "fsdd.jsonl").exists():
        written(Part(table="fsdd.jsonl", where={"split": "train"}), speech, place)
    return place
