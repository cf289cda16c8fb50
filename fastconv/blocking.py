"""The cache block sizes that a user may set and sweep."""

from dataclasses import dataclass

from fastconv.checks import to_count

LARGEST = 2**31 - 1


@dataclass(frozen=True)
class Blocking:
    """Block sizes of a product in elements: mc rows of A, nc columns of B, kc of the dimension summed over.

    "packed" and "im2col" round mc and nc up to the register tile; "blocked" takes them as they are. Sizes
    beyond the matrix mean the whole of it. Of a convolution by "direct" or "im2col", each loop nest takes those that it
    has: mc output pixels, and kc of the sum over channels and taps; where vectors lie along the pixels (layout "NCHW"),
    nc pixels instead; where many small images share a tile, mc images. A depthwise convolution has none to set.

    Raises TypeError if a size is not an integer, ValueError if it is below 1 or above 2**31 - 1."""

    mc: int
    nc: int
    kc: int

    def __post_init__(self):
        for name in ("mc", "nc", "kc"):
            object.__setattr__(self, name, to_count(getattr(self, name), name, most=LARGEST))


def check_blocking(blocking):
    """TypeError unless `blocking` is None or a Blocking."""
    if blocking is not None and not isinstance(blocking, Blocking):
        raise TypeError(f"blocking must be a fastconv.Blocking, got {type(blocking).__name__}")
