"""The contraction fitted to a loss."""

import numpy as np
import pytest

from fedqs_ray.report.contraction import fit_contraction


def test_a_known_curve_is_found() -> None:
    rounds = list(range(0, 200, 2))
    noise = np.random.default_rng(0).normal(0, 0.01, len(rounds))
    found = fit_contraction(rounds, [0.4 + 1.9 * 0.97**t + e for t, e in zip(rounds, noise, strict=True)])
    assert found is not None
    assert found.factor == pytest.approx(0.97, abs=0.002)
    assert found.floor == pytest.approx(0.4, abs=0.01)
    assert found.drop == pytest.approx(1.9, abs=0.03)
    assert found.at([0]) == [found.floor + found.drop]


def test_what_does_not_fall_has_no_contraction() -> None:
    assert fit_contraction([], []) is None
    assert fit_contraction(range(5), [2.0, 1.5, 1.2, 1.1, 1.0]) is None, "too few"
    assert fit_contraction(range(20), np.linspace(1.0, 3.0, 20).tolist()) is None, "it rises"
    assert fit_contraction(range(20), [2.0] * 19 + [np.inf]) is None
