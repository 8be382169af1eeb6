"""Memory that a network on the CPU uses again for every batch.

glibc fetches every large array anew from the system and hands it back when it is freed. Its pages
are then filled with zeros and mapped one by one for each layer of each batch: a tenth of a forward
pass on the machine this was measured on, more on virtual ones. Told to keep what it has, glibc
serves the next batch with the pages of the last one.
"""

from __future__ import annotations

import ctypes
import platform

__all__ = ["keep_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
"""Parameters of mallopt(3), from glibc's malloc.h."""


def keep_memory() -> bool:
    """Let this process keep the memory it frees, for its own next use.

    It holds for the whole process, and until its end: what a batch took at most stays taken. With
    ResNet-18 and EfficientNet-Lite0 the peak was reached in the first three batches, within 5 % of
    what it is without this, and page faults fell from 3,200 an image to 2.

    Returns:
        Whether the allocator took the setting; False where it is not glibc's.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1))
