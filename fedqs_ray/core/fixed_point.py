"""Exact weighted sums of vectors in fixed point: partial sums may be computed anywhere and added in any order.

Floating-point sums depend on their order, whole numbers do not. Every product p_i d_i is rounded to a multiple of one
power of two, small enough to be some 2^-38 finer than float32 near the largest number, large enough that int64 holds
the sum: |sum| < 2^62.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

FixedPointSum = NDArray[np.int64]
"""(P,) a sum or a partial sum, in units of 2^-shift."""

_BITS = 62
_BLOCK = 2**14
"""Numbers processed at a time, so that they fit in the processor's cache."""


def find_largest_magnitude(vector: NDArray[np.float32]) -> float:
    """Find the largest |x| of a vector; not finite if one of its numbers is not."""
    return float(max(vector.max(), -vector.min()))


def choose_shift(weights: Sequence[float], bounds: Sequence[float]) -> int:
    """Choose the unit 2^-shift of a sum of vectors with numbers of at most `bounds`. OverflowError if not finite."""
    bound = math.fsum(abs(weight) * most for weight, most in zip(weights, bounds, strict=True))
    if not math.isfinite(bound):
        raise OverflowError(f"a sum of up to {bound}")
    return _BITS - math.frexp(bound)[1]


def compute_partial_sum(terms: Iterable[tuple[float, NDArray[np.float32]]], size: int, shift: int) -> FixedPointSum:
    """Sum weight * vector over some of the terms, in units of 2^-shift."""
    total = np.zeros(size, np.int64)
    scaled = [(math.ldexp(weight, shift), vector) for weight, vector in terms]
    for start in range(0, size, _BLOCK):
        block = slice(start, start + _BLOCK)
        for factor, vector in scaled:
            product = vector[block] * np.float64(factor)
            total[block] += np.rint(product, out=product).astype(np.int64)
    return total


def convert_to_float32(total: FixedPointSum, shift: int) -> NDArray[np.float32]:
    """Convert the total of all partial sums to float32."""
    return np.ldexp(total.astype(np.float64), -shift).astype(np.float32)


def compute_exact_sum(weights: Sequence[float], vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Compute sum_k weights[k] * vectors[k] for (P,) vectors in this process."""
    unit = choose_shift(weights, [find_largest_magnitude(vector) for vector in vectors])
    return convert_to_float32(compute_partial_sum(zip(weights, vectors, strict=True), vectors[0].size, unit), unit)
