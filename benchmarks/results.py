"""The figures of docs/results.md as a resumable queue, two cores at most, each kept with a hash of what it depends on.

    python benchmarks/results.py                 # run what is missing or stale, then print the tables
    python benchmarks/results.py --list          # names, and whether each stands
    python benchmarks/results.py --only sst2     # the jobs whose name contains this

Needs FIRTH_DATA. A job that was killed is run again; its own command resumes where it stopped.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.jobs import Job, jobs

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "runs" / "results"
CORES = 2


def fingerprint(job: Job) -> str:
    """Of the command and of the source files that the figure depends on."""
    digest = hashlib.blake2b(json.dumps(job.command).encode(), digest_size=8)
    for pattern in job.depends:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def stands(job: Job) -> bool:
    kept = KEPT / f"{job.name}.json"
    return kept.exists() and json.loads(kept.read_text())["fingerprint"] == fingerprint(job)


def do(job: Job) -> None:
    """Run the job's command with --json and keep what it prints."""
    print(f"{time.strftime('%H:%M:%S')} {job.name}: {' '.join(job.command)}", flush=True)
    began = time.monotonic()
    environment = {**os.environ, "FIRTH_CACHE": str(KEPT / "cache"), "PYTHONPATH": str(ROOT)}
    environment |= {"OMP_NUM_THREADS": "1"} if job.cores == 1 else {}
    with (KEPT / f"{job.name}.log").open("w") as log:
        done = subprocess.run([sys.executable, *job.command], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT,
                              env=environment)  # fmt: skip
    if done.returncode:
        print(f"{job.name}: exit status {done.returncode}. See {KEPT / job.name}.log.", flush=True)
        return
    value = {
        "name": job.name,
        "fingerprint": fingerprint(job),
        "command": job.command,
        "wall_seconds": time.monotonic() - began,
        "result": json.loads(done.stdout),
    }
    if network := network_of(value["result"]):
        value["network"] = network
        print(f"{job.name}: " + ", ".join(f"model.{key} = {size}" for key, size in network.items()), flush=True)
    (KEPT / f"{job.name}.json").write_text(json.dumps(value, indent=1))


def do_all(queue: list[Job]) -> None:
    """In order; jobs of one core two at a time, each after those it reads, all others alone."""
    running: dict[str, Future] = {}
    with ThreadPoolExecutor(CORES) as pool:
        for job in queue:
            before = [running[name] for name in job.after if name in running]
            if job.cores == CORES:
                wait(running.values())
                do(job)
            else:
                running[job.name] = pool.submit(lambda job, before: (wait(before), do(job)), job, before)
    for one in running.values():
        one.result()  # raises what it raised


def network_of(result) -> dict:
    """Shape, layers and width of a run, which its plan may have chosen; nothing of what is no run."""
    config = ROOT / str(result.get("folder", "")) / "config.toml" if isinstance(result, dict) else ROOT
    if not config.is_file():
        return {}
    model = tomllib.loads(config.read_text(encoding="utf-8")).get("model", {})
    return {key: model[key] for key in ("shape", "size", "layers", "width") if key in model}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    if "FIRTH_DATA" not in os.environ:
        raise SystemExit("results.py: FIRTH_DATA is not set. Set it to the folder that holds text/, image/, speech/.")
    KEPT.mkdir(parents=True, exist_ok=True)
    chosen = [job for job in jobs(Path(os.environ["FIRTH_DATA"]), KEPT) if given.only in job.name]
    if given.list:
        print("".join(f"{'stands ' if stands(job) else 'missing'} {job.name}\n" for job in chosen), end="")
    else:
        do_all([job for job in chosen if not stands(job)])


if __name__ == "__main__":
    main()
