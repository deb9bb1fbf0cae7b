"""What a run tells: lines for people through `Show`, and metrics.jsonl and train.log for the folder."""

import json
import time
from pathlib import Path
from typing import Any, Protocol

from firth.train.folder import write_atomically


class Show(Protocol):
    """Where a verb says what it does; report/terminal.py draws it, tests record it, the default is silent."""

    def line(self, key: str, text: str) -> None:
        """A line of the plan or the result: `Data     50,000 reviews · …`."""

    def note(self, text: str) -> None:
        """Something worth knowing, not part of the plan."""

    def progress(self, step, run) -> None:
        """After each step: `step` of train/run.py, `run` with .steps; the receiver chooses how often to draw."""

    def count(self, key: str, done: int, whole: int, begun: int = 0) -> None:
        """How far something is that may take long and is no training; done = whole: it is over. begun: done before."""

    def result(self, result) -> None:
        """At the end, with the Result."""


class Silent:
    """Shows nothing."""

    def line(self, key: str, text: str) -> None: ...

    def note(self, text: str) -> None: ...

    def progress(self, step, run) -> None: ...

    def count(self, key: str, done: int, whole: int, begun: int = 0) -> None: ...

    def result(self, result) -> None: ...


class Recorded(Silent):
    """Keeps every line and note, and passes them on: to train.log of a run, to a test."""

    def __init__(self, show: Show | None = None):
        self.show: Show = show or Silent()
        self.lines: list[str] = []

    def line(self, key: str, text: str) -> None:
        self.lines.append(f"{key:<8} {text}")
        self.show.line(key, text)

    def note(self, text: str) -> None:
        self.lines.append(text)
        self.show.note(text)

    def progress(self, step, run) -> None:
        self.show.progress(step, run)

    def count(self, key: str, done: int, whole: int, begun: int = 0) -> None:
        self.show.count(key, done, whole, begun)

    def result(self, result) -> None:
        self.show.result(result)


class Log:
    """metrics.jsonl (one object per logged step) and train.log (plain lines) of a run folder.

    After a resume from step `from_step`, metrics of later steps are dropped first, so that each step stands once.
    """

    def __init__(self, metrics: Path, text: Path, from_step: int = 0):
        self.metrics_path, self.text_path = Path(metrics), Path(text)
        keep_until(self.metrics_path, from_step)
        self.metrics_file = self.metrics_path.open("a", encoding="utf-8")
        self.text_file = self.text_path.open("a", encoding="utf-8")

    def metrics(self, step: int, **values: Any) -> None:
        """Append one object; floats in full precision."""
        self.metrics_file.write(json.dumps({"step": step} | values) + "\n")
        self.metrics_file.flush()

    def text(self, line: str) -> None:
        """Append one line with the time of day."""
        self.text_file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        self.text_file.flush()

    def close(self) -> None:
        self.metrics_file.close()
        self.text_file.close()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The objects of metrics.jsonl; a torn last line (the machine went down while it was written) is left out."""
    if not Path(path).exists():
        return []
    rows = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def keep_until(path: Path, step: int) -> None:
    """Drop the metrics after `step`; a kill meanwhile loses none of those before."""
    rows = [row for row in read_metrics(path) if row.get("step", 0) <= step]
    if Path(path).exists():
        write_atomically(Path(path), "".join(json.dumps(row) + "\n" for row in rows))
