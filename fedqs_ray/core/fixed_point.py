"""Weighted sums of vectors that are exact, so that parts of them may be made anywhere and in any order.

Floating-point sums depend on their order, whole numbers do not. Every product p_i d_i is rounded to a multiple of one
power of two, small enough to be some 2^-38 finer than float32 near the largest number, large enough that int64 holds
the sum: |sum| < 2^62.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

FixedPointSum = NDArray[np.int64]
"""(P,) a sum, or a part of one, in units of 2^-shift."""

_BITS = 62
_BLOCK = 2**14
"""Numbers at a time, which stay inside the cache."""


def largest_magnitude(vector: NDArray[np.float32]) -> float:
    """The largest |x| of a vector; not finite where a number is not."""
    return float(max(vector.max(), -vector.min()))


def choose_shift(weights: Sequence[float], bounds: Sequence[float]) -> int:
    """The unit 2^-shift of a sum whose vectors have numbers of at most `bounds`. Raises OverflowError if not finite."""
    bound = math.fsum(abs(weight) * most for weight, most in zip(weights, bounds, strict=True))
    if not math.isfinite(bound):
        raise OverflowError(f"a sum of up to {bound}")
    return _BITS - math.frexp(bound)[1]


def partial_sum(terms: Iterable[tuple[float, NDArray[np.float32]]], size: int, shift: int) -> FixedPointSum:
    """Sum of weight * vector over some of the terms."""
    total = np.zeros(size, np.int64)
    scaled = [(math.ldexp(weight, shift), vector) for weight, vector in terms]
    for start in range(0, size, _BLOCK):
        block = slice(start, start + _BLOCK)
        for factor, vector in scaled:
            product = vector[block] * np.float64(factor)
            total[block] += np.rint(product, out=product).astype(np.int64)
    return total


def to_float32(total: FixedPointSum, shift: int) -> NDArray[np.float32]:
    """What all parts together come to."""
    return np.ldexp(total.astype(np.float64), -shift).astype(np.float32)


def exact_weighted_sum(weights: Sequence[float], vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """sum_k weights[k] * vectors[k] for (P,) vectors that are all here."""
    unit = choose_shift(weights, [largest_magnitude(vector) for vector in vectors])
    return to_float32(partial_sum(zip(weights, vectors, strict=True), vectors[0].size, unit), unit)
