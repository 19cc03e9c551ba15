"""Arithmetic on flat vectors with reproducible bits: results depend on nothing but the inputs.

BLAS splits long dot products among its threads, so the last bits would depend on their number. Blocks of 8192
numbers stay below every such split and fit in the processor's cache.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedqs_ray.core.fixed_point import compute_exact_sum
from fedqs_ray.core.interfaces import Round
from fedqs_ray.core.types import Vector

_BLOCK = 8192


def dot(a: Vector, b: Vector) -> float:
    """Inner product of two (P,) vectors, accumulated in float64."""
    total = 0.0
    for i in range(0, a.size, _BLOCK):
        x, y = a[i : i + _BLOCK].astype(np.float64), b[i : i + _BLOCK].astype(np.float64)
        total += float(np.dot(x, y))
    return total


def angle(a: Vector, b: Vector) -> float | None:
    """Angle between two (P,) vectors in degrees, 0..180; None if either is zero."""
    aa = bb = ab = 0.0
    for i in range(0, a.size, _BLOCK):
        x, y = a[i : i + _BLOCK].astype(np.float64), b[i : i + _BLOCK].astype(np.float64)
        aa, bb, ab = aa + float(np.dot(x, x)), bb + float(np.dot(y, y)), ab + float(np.dot(x, y))
    norms = math.sqrt(aa) * math.sqrt(bb)
    if norms == 0.0:
        return None
    return math.degrees(math.acos(min(1.0, max(-1.0, ab / norms))))


def norm(vector: Vector) -> float:
    """Euclidean norm of a (P,) vector."""
    return math.sqrt(dot(vector, vector))


def cosine(a: Vector, b: Vector) -> float:
    """Cosine of the angle between two (P,) vectors; 0 if either is zero."""
    norms = norm(a) * norm(b)
    return dot(a, b) / norms if norms else 0.0


def sketch(vector: Vector, dim: int) -> Vector:
    """A (dim,) random projection of a (P,) vector that keeps inner products, the same for every vector.

    CountSketch (Charikar, Chen, Farach-Colton 2002): every number gets a random sign and is added to one of `dim`
    places. The cosine of two sketches differs from that of the vectors by about 1/sqrt(dim).
    """
    signs, shifts = projection(-(-vector.size // dim), dim)
    total = np.zeros(dim)
    for row, shift in enumerate(shifts):
        part = vector[row * dim : (row + 1) * dim]
        signed = np.zeros(dim)
        signed[: part.size] = part * signs[row, : part.size]
        total += np.roll(signed, shift)
    return total.astype(np.float32)


@lru_cache(maxsize=2)
def projection(rows: int, dim: int) -> tuple[NDArray[np.int8], list[int]]:
    """(rows, dim) signs and a shift for each row, the same in all experiments."""
    draw = np.random.Generator(np.random.Philox(dim))
    signs = draw.integers(0, 2, (rows, dim), np.int8)
    return 2 * signs - 1, draw.integers(0, dim, rows).tolist()


def difference(a: Vector | None, b: Vector | None) -> Vector | None:
    """Difference a - b of two (P,) vectors, where a missing one is zero; None if both are missing."""
    if a is None or b is None:
        return a if b is None else -b
    return a - b


def weighted_sum(weights: Sequence[float], vectors: Sequence[Vector]) -> Vector:
    """sum_k weights[k] * vectors[k] for (P,) vectors, in the given order, accumulated in float64."""
    total = np.zeros(vectors[0].shape, np.float64)
    for weight, vector in zip(weights, vectors, strict=True):
        total += weight * vector.astype(np.float64)
    return total.astype(np.float32)


def model_average(weights: Sequence[float], round: Round) -> Vector:
    """Model aggregation: sum_i p_i w_i, with w_i = w^v + d_i. `weights` must sum to 1."""
    starts = weighted_sum(weights, [a.start_model for a in round.arrivals])
    return starts + combined(weights, round)


def gradient_step(weights: Sequence[float], round: Round) -> Vector:
    """Gradient aggregation: w^t + sum_i p_i d_i."""
    return round.model + combined(weights, round)


def combined(weights: Sequence[float], round: Round) -> Vector:
    """sum_i p_i d_i, with the same bits on any nodes: updates on other nodes are summed there."""
    if round.combine is not None:
        return round.combine(weights)
    return compute_exact_sum(weights, [a.delta for a in round.arrivals])


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """`weights` scaled to sum to 1."""
    total = math.fsum(weights)
    return tuple(w / total for w in weights)
