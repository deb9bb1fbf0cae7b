"""Speech: four objectives, fifteen minutes of one core each on the training recordings, and the suite over them."""

from pathlib import Path

from benchmarks.job import ADAPTING, COMPARING, ONE, Job, firth

OBJECTIVES = ("next-frame", "masked-frames", "wav2vec2", "hubert")
SIZE = "4x256"  # of all, so that methods differ and not networks


def jobs(data: Path, kept: Path) -> list[Job]:
    """Test speakers and test clips are in no pre-training: the tables name the training part."""
    speech = data / "speech"
    made = [Job(f"speech-{one}", firth("pretrain", speech / "speechocean762_train.jsonl", "--objective", one,
                                       "--size", SIZE, "--budget", "15m", *ONE, "--out", kept / f"speech-{one}"),
                cores=1)
            for one in OBJECTIVES]  # fmt: skip
    runs = [kept / f"speech-{one}" for one in OBJECTIVES]
    suite = firth("compare", *runs, "--suite", "speech", "--seeds", 3, "--jobs", 2, "--out", kept / "speech-suite")
    depends = (*ADAPTING, *COMPARING, "firth/evaluate/suite.py", "firth/evaluate/suites/*.toml")
    return [*made, Job("speech-suite", suite, depends)]
