"""Exact sums: by hand, against fractions, and in every order."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedqs_ray.core.fixed_point import choose_shift, compute_exact_sum, compute_partial_sum, find_largest_magnitude

Vector = NDArray[np.float32]
SIZE = 5


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def test_a_sum_by_hand() -> None:
    found = compute_exact_sum([0.5, 2.0], [vector(2, 4, 6), vector(1, 0, -1)])
    assert found.dtype == np.float32
    assert found.tolist() == [3.0, 2.0, 1.0]
    # 0.5 * 6 + 2 * 1 = 5 < 8 = 2^3 bounds the numbers: a unit is 2^(3 - 62)
    assert choose_shift([0.5, 2.0], [6.0, 1.0]) == 59
    assert compute_partial_sum([(0.5, vector(2))], 1, 59).tolist() == [2**59]
    assert find_largest_magnitude(vector(1, -3, 2)) == 3.0
    assert math.isnan(find_largest_magnitude(vector(1, math.nan, 2)))
    assert find_largest_magnitude(vector(1, -math.inf)) == math.inf


def test_nothing_and_what_is_not_finite() -> None:
    assert compute_exact_sum([1.0, 0.0], [vector(0, 0), vector(0, 0)]).tolist() == [0.0, 0.0]
    with pytest.raises(OverflowError):
        compute_exact_sum([math.nan], [vector(1)])


numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
terms = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.lists(numbers, min_size=SIZE, max_size=SIZE)), min_size=1, max_size=12
)


@given(terms, st.randoms(use_true_random=False))
def test_no_order_and_no_division_changes_a_bit(given_terms: list[tuple[float, list[float]]], dice: object) -> None:
    pairs = [(weight, vector(*values)) for weight, values in given_terms]
    weights, vectors = [weight for weight, _ in pairs], [one for _, one in pairs]
    unit = choose_shift(weights, [find_largest_magnitude(one) for one in vectors])
    together = compute_partial_sum(pairs, SIZE, unit)
    order = list(pairs)
    dice.shuffle(order)  # type: ignore[attr-defined]
    cut = dice.randint(0, len(order))  # type: ignore[attr-defined]
    apart = compute_partial_sum(order[:cut], SIZE, unit) + compute_partial_sum(order[cut:], SIZE, unit)
    assert apart.tobytes() == together.tobytes()
    for place in range(SIZE):
        exact = sum(Fraction(weight) * Fraction(float(one[place])) for weight, one in pairs)
        bound = sum(abs(Fraction(weight)) * Fraction(find_largest_magnitude(one)) for weight, one in pairs)
        off = abs(Fraction(int(together[place])) * Fraction(2) ** -unit - exact)
        assert off <= bound * len(pairs) * Fraction(2) ** -52, "each product is rounded once, to a float64"
        assert abs(int(together[place])) < 2**62 + len(pairs)


def test_long_vectors_go_in_blocks() -> None:
    draw = np.random.default_rng(0)
    vectors = [draw.normal(size=100_001).astype(np.float32) for _ in range(3)]
    found = compute_exact_sum([0.2, 0.3, 0.5], vectors)
    plain = sum(w * one.astype(np.float64) for w, one in zip([0.2, 0.3, 0.5], vectors, strict=True))
    assert np.allclose(found, plain, rtol=1e-7, atol=1e-12)
