"""A verb on several ranks, as torchrun starts them: all of them train, one of them writes and prints."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def several() -> bool:
    """Whether this process was started with others."""
    world = os.environ.get("WORLD_SIZE", "1")
    return world.isdigit() and int(world) > 1


def leads() -> bool:
    """Whether this process writes and prints, also before the others are joined and after they have parted."""
    return not several() or os.environ.get("RANK", "0") == "0"


@contextmanager
def joined(device: str = "auto") -> Iterator[None]:
    """In the group of processes, where there are several. Raises InputError where torchrun says not all it must."""
    if not several():
        yield
        return
    from firth import distributed  # torch comes with it

    ours = not distributed.started()
    distributed.start_from_environment(on_cpu=device == "cpu")
    try:
        yield
        distributed.barrier()  # what the main rank writes at the end is there for all
    finally:
        if ours:
            distributed.finish()
