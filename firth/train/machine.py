"""What this machine is and has: cores, memory, disk, native bf16. Linux first; elsewhere the careful answer."""

import hashlib
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from firth.data.cache import cache_folder

BF16_FLAGS = ("amx_bf16", "bf16")  # x86: matrix units; ARM: bf16 matrix instructions


def cores() -> int:
    """Cores this process may use; OMP_NUM_THREADS is respected as the upper limit."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(available, int(wanted)) if wanted.isdigit() and int(wanted) else available


def native_bf16() -> bool:
    """Whether the processor multiplies bf16 faster than fp32.

    Dot products alone (avx512_bf16) are no gain on Intel's cores: without matrix units they run at half the rate of
    two fp32 fused multiply-adds (measured: 78 against 137 GFLOP/s a core). AMD's run at full rate.
    """
    text = _read("/proc/cpuinfo")
    flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "").split()
    return any(flag in flags for flag in BF16_FLAGS) or ("avx512_bf16" in flags and "AuthenticAMD" in text)


def processor() -> str:
    """The name of the processor."""
    lines = _read("/proc/cpuinfo").splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_memory() -> int:
    """The most this process has held in memory so far, in bytes (VmHWM); 0 where the system does not say."""
    return _status("VmHWM")


def free_memory() -> int | None:
    """Bytes that may still be taken: of the machine, and of the control group this process is in; None: unknown."""
    fields = [line.split() for line in _read("/proc/meminfo").splitlines()]
    free = [int(parts[1]) * 1024 for parts in fields if parts and parts[0] == "MemAvailable:"]
    limit, used = _read("/sys/fs/cgroup/memory.max").strip(), _read("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free.append(max(int(limit) - int(used), 0))
    return min(free) if free else None


def remembered(key: dict[str, Any]) -> dict[str, Any] | None:
    """What was measured before under this key, from the cache."""
    try:
        return json.loads(_place(key).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None


def remember(key: dict[str, Any], value: dict[str, Any]) -> None:
    """Keep a measurement in the cache; a cache that cannot be written is no reason to stop."""
    place = _place(key)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
            json.dump(value | {"key": key}, file, indent=1)
        os.replace(file.name, place)
    except OSError:
        return


def facts() -> dict[str, Any]:
    """The machine and the versions, for run.json."""
    from importlib.metadata import PackageNotFoundError, version

    def known(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    versions = {name: known(name) for name in ("firth", "torch", "numpy", "tokenizers", "safetensors")}
    return {
        "versions": {"python": platform.python_version(), **versions},
        "machine": {"processor": processor(), "cores": cores(), "system": platform.platform()},
    }


def _place(key: dict[str, Any]) -> Path:
    name = hashlib.blake2b(json.dumps(key, sort_keys=True).encode(), digest_size=8).hexdigest()
    return cache_folder() / "probes" / f"{name}.json"


def _status(name: str) -> int:
    for line in _read("/proc/self/status").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
