import math

import numpy as np
import pytest

from fedqs_ray.algorithms.vectors import angle, dot, normalised, sketch, weighted_sum


def vector(*numbers: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array(numbers, np.float32)


def test_dot_crosses_blocks() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.normal(size=20_001).astype(np.float32) for _ in range(2))
    assert dot(a, b) == pytest.approx(math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True)), rel=1e-12)


def test_angle() -> None:
    assert angle(vector(1, 0, 0), vector(0, 2, 0)) == pytest.approx(90.0)
    assert angle(vector(1, 1, 0), vector(1, 0, 0)) == pytest.approx(45.0)
    assert angle(vector(1, 2, 3), vector(-2, -4, -6)) == pytest.approx(180.0)
    assert angle(vector(1, 2, 3), vector(0, 0, 0)) is None
    # Rounding must not carry the cosine out of [-1, 1].
    assert angle(vector(0.1, 0.7, 0.3), vector(0.1, 0.7, 0.3)) == pytest.approx(0.0, abs=1e-5)


def test_weighted_sum_and_normalised() -> None:
    assert weighted_sum([0.5, 2.0], [vector(2, 4, 6), vector(1, 0, -1)]).tolist() == [3.0, 2.0, 1.0]
    assert weighted_sum([1.0], [vector(1, 2, 3)]).dtype == np.float32
    assert normalised([1.0, 3.0]) == (0.25, 0.75)


@pytest.mark.parametrize("dim", [256, 4096])
def test_sketches_keep_angles_and_distances(dim: int) -> None:
    """A hundred pairs of all angles and kinds: even, uneven, and with all weight in few numbers."""
    draw = np.random.default_rng(0)
    errors, gaps = [], []
    for pair in range(100):
        scale = [np.ones(50_001), draw.pareto(1.5, 50_001) + 0.1, np.exp(3 * draw.standard_normal(50_001))][pair % 3]
        a = (scale * draw.standard_normal(50_001)).astype(np.float32)
        b = (draw.uniform(-1, 1) * a + draw.random() * scale * draw.standard_normal(50_001)).astype(np.float32)
        exact, seen = angle(a, b), angle(sketch(a, dim), sketch(b, dim))
        assert exact is not None
        assert seen is not None
        errors.append(math.cos(math.radians(seen)) - math.cos(math.radians(exact)))
        gaps.append(float(np.linalg.norm(sketch(a, dim) - sketch(b, dim)) / np.linalg.norm(a - b)) - 1)
    limit = 1 / math.sqrt(dim)
    assert np.abs(errors).max() < 5 * limit
    assert np.sqrt(np.mean(np.square(errors))) < 1.2 * limit
    assert abs(np.mean(errors)) < 0.5 * limit, "no bias"
    assert np.abs(gaps).max() < 5 * limit


def test_a_sketch_is_linear_and_the_same_for_everybody() -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal(1000).astype(np.float32) for _ in range(2))
    assert np.allclose(sketch(a, 64) + sketch(b, 64), sketch(a + b, 64), atol=1e-4)
    assert sketch(a, 64).tobytes() == sketch(a.copy(), 64).tobytes()
    assert sketch(a, 64).shape == (64,)
