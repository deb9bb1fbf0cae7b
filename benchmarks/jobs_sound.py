"""Speech: four objectives, a quarter of an hour each on the training recordings, and the suite over all of them."""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, Job, firth

OBJECTIVES = ("next-frame", "masked-frames", "wav2vec2", "hubert")
SIZE = "4x256"  # of all, so that methods differ and not networks


def jobs(data: Path, kept: Path) -> list[Job]:
    """Test speakers and test clips are in no pre-training: the tables name the training part."""
    speech = data / "speech"
    made = [Job(f"speech-{one}", firth("pretrain", speech / "speechocean762_train.jsonl", "--objective", one,
                                       "--size", SIZE, "--budget", "15m", "--out", kept / f"speech-{one}"))
            for one in OBJECTIVES]  # fmt: skip
    runs = [kept / f"speech-{one}" for one in OBJECTIVES]
    suite = firth("compare", *runs, "--suite", "speech", "--seeds", 3, "--out", kept / "speech-suite")
    depends = (*ADAPTING, *COMPARING, "firth/evaluate/suite.py", "firth/evaluate/suites/*.toml")
    return [*made, Job("speech-suite", suite, depends)]
