from typing import Any, Final, Literal, Protocol, SupportsIndex, TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt

from fastconv.blocking import Blocking

_Real = TypeVar("_Real", np.float32, np.float64)
_Scalar: TypeAlias = float | np.floating[Any] | np.integer[Any]
_Flag: TypeAlias = bool | np.bool_
_Algorithm: TypeAlias = Literal["auto", "naive", "blocked", "packed"]

class _SupportsArray(Protocol):
    def __array__(self) -> npt.NDArray[Any]: ...

class _SupportsDLPack(Protocol):
    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

_Array: TypeAlias = _SupportsArray | _SupportsDLPack

ALGORITHMS: Final[tuple[str, ...]]
BLOCKED_DEFAULT: Final[Blocking]

@overload
def gemm(
    a: npt.NDArray[_Real],
    b: npt.NDArray[_Real],
    c: npt.NDArray[_Real] | None = None,
    *,
    alpha: _Scalar = 1.0,
    beta: _Scalar | None = None,
    trans_a: _Flag = False,
    trans_b: _Flag = False,
    out: npt.NDArray[_Real] | None = None,
    algorithm: _Algorithm = "auto",
    blocking: Blocking | None = None,
    num_threads: SupportsIndex | None = None,
) -> npt.NDArray[_Real]: ...
@overload
def gemm(
    a: _Array,
    b: _Array,
    c: _Array | None = None,
    *,
    alpha: _Scalar = 1.0,
    beta: _Scalar | None = None,
    trans_a: _Flag = False,
    trans_b: _Flag = False,
    out: npt.NDArray[Any] | None = None,
    algorithm: _Algorithm = "auto",
    blocking: Blocking | None = None,
    num_threads: SupportsIndex | None = None,
) -> npt.NDArray[Any]: ...

# Any, as numpy.matmul's: a scalar where both operands are 1-D.
def matmul(
    a: _Array, b: _Array, *, out: npt.NDArray[Any] | None = None, num_threads: SupportsIndex | None = None
) -> Any: ...
def check_algorithm(algorithm: object, blocking: object) -> None: ...
