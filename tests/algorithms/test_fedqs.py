"""FedQS: every formula with numbers worked out by hand."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fedqs_ray.algorithms.fedqs import FedQS, above, label_gap
from fedqs_ray.config.algorithms import FedQSConfig
from fedqs_ray.core.interfaces import Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def fedqs(**settings: Any) -> FedQS:
    return FedQS(FedQSConfig(**settings), base_lr=0.1)


def view(
    speed: float | None,
    theta: float,
    *,
    means: tuple[float | None, float | None] = (1.0, 40.0),
    lr: float = 0.1,
    labels: Sequence[tuple[float, int]] = (),
) -> ClientView:
    """A client whose last update points `theta` degrees away from the global direction (1, 0, 0)."""
    turned = vector(math.cos(math.radians(theta)), math.sin(math.radians(theta)), 0)
    return ClientView(vector(3, 5, 7), vector(2, 5, 7), turned, lr, speed, Thresholds(*means), lambda: labels)


# Mod 1


def test_similarity_functions() -> None:
    # L_g = (1, 0, 0), d = (0, 1, 0): 90 degrees, distance sqrt 2, sum of absolute differences 2
    there = view(1.0, 90.0)
    assert fedqs().dissimilarity(there) == pytest.approx(90.0, abs=1e-4)
    assert fedqs(similarity="euclidean").dissimilarity(there) == pytest.approx(math.sqrt(2), rel=1e-6)
    assert fedqs(similarity="manhattan").dissimilarity(there) == pytest.approx(2.0, rel=1e-6)


def test_no_similarity_before_there_is_a_direction_and_an_update() -> None:
    model, update = vector(1, 2, 3), vector(1, 0, 0)
    for previous, last in ((None, update), (vector(0, 0, 0), None), (model, update), (vector(0, 0, 0), 0 * update)):
        cold = ClientView(model, previous, last, 0.1, 2.0, Thresholds(1.0, 40.0), list)
        assert fedqs().plan(cold) == Plan(lr=0.1, momentum=0.0, feedback=False, client_type=None, angle=None)


# Mod 2


def test_fast_weakly_biased() -> None:
    # F = 1/2: lr = 0.1 - 0.002 * 0.5; G = 40/36: m = 0.1 + 2 (G - 1) = 0.1 + 2/9
    plan = fedqs().plan(view(2.0, 36.0))
    assert plan.client_type == "FWBC"
    assert plan.lr == pytest.approx(0.099)
    assert plan.momentum == pytest.approx(0.1 + 2 / 9, rel=1e-4)
    assert plan.feedback is False
    assert plan.angle == pytest.approx(36.0, rel=1e-5)


def test_fast_strongly_biased() -> None:
    plan = fedqs().plan(view(2.0, 60.0, lr=0.07))
    assert (plan.client_type, plan.lr, plan.momentum, plan.feedback) == ("FSBC", 0.07, 0.0, True)


def test_straggling_weakly_biased() -> None:
    # F = 2: lr = 0.1 + 0.004; G = 40/30: 2 (G - 1) = 0.67, clipped to 0.4
    plan = fedqs().plan(view(0.5, 30.0))
    assert plan.client_type == "SWBC"
    assert plan.lr == pytest.approx(0.104)
    assert plan.momentum == pytest.approx(0.5)
    assert plan.feedback is False


def test_straggling_strongly_biased_by_staleness() -> None:
    # Labels at 80% and 60%: less than 30 points apart, so momentum m(G) with G < 1, which is m0.
    plan = fedqs().plan(view(0.5, 60.0, labels=[(0.8, 20), (0.6, 10)]))
    assert (plan.client_type, plan.feedback) == ("SSBC", False)
    assert plan.momentum == pytest.approx(0.1)
    assert plan.lr == pytest.approx(0.104)


def test_straggling_strongly_biased_by_data() -> None:
    plan = fedqs().plan(view(0.5, 60.0, labels=[(0.8, 20), (0.4, 20)]))
    assert (plan.client_type, plan.momentum, plan.feedback) == ("SSBC", 0.0, True)
    assert plan.lr == pytest.approx(0.104)


def test_averages_count_as_straggling_and_weak() -> None:
    assert fedqs().plan(view(1.0, 30.0)).client_type == "SWBC"
    assert fedqs().plan(view(2.0, 30.0, means=(2.0, 90.0))).client_type == "SWBC"
    equal = fedqs(similarity="euclidean").plan(view(2.0, 90.0, means=(1.0, math.sqrt(2))))
    assert equal.client_type == "FWBC"


def test_the_ratio_of_speeds_is_capped_at_9() -> None:
    assert fedqs().plan(view(0.05, 30.0)).lr == pytest.approx(0.1 + 0.002 * 9)


def test_the_learning_rate_stays_within_bounds() -> None:
    assert fedqs().plan(view(0.05, 30.0, lr=0.199)).lr == pytest.approx(0.2)
    assert fedqs().plan(view(1.01, 30.0, lr=0.0012)).lr == pytest.approx(0.001)


def test_step_and_bounds_are_relative_to_the_base_rate() -> None:
    algorithm = FedQS(FedQSConfig(), base_lr=0.01)
    assert algorithm.plan(view(0.5, 30.0, lr=0.01)).lr == pytest.approx(0.0104)
    assert algorithm.plan(view(0.05, 30.0, lr=0.0199)).lr == pytest.approx(0.02)


def test_a_client_without_speed_or_thresholds_trains_plainly_but_reports_its_angle() -> None:
    for speed, means in ((None, (1.0, 40.0)), (2.0, (None, 40.0)), (2.0, (1.0, None))):
        plan = fedqs().plan(view(speed, 30.0, means=means))
        assert (plan.lr, plan.momentum, plan.feedback, plan.client_type) == (0.1, 0.0, False, None)
        assert plan.angle == pytest.approx(30.0, rel=1e-5)


def test_momentum_of_extreme_angles() -> None:
    assert fedqs().momentum(0.0, 40.0) == pytest.approx(0.5)
    assert fedqs().momentum(0.0, 0.0) == pytest.approx(0.1)
    assert fedqs().momentum(180.0, 40.0) == pytest.approx(0.1)


def test_label_gap() -> None:
    assert label_gap([(0.9, 20), (0.5, 10)]) == pytest.approx(40.0)
    assert label_gap([(0.9, 20), (0.9, 9)]) == pytest.approx(45.0)  # fewer than 10 samples: counts half
    assert label_gap([(0.7, 15)]) == 0.0
    assert label_gap([]) == 0.0


def test_the_gap_of_exactly_30_points_is_skewed() -> None:
    assert fedqs().plan(view(0.5, 60.0, labels=[(0.75, 20), (0.45, 20)])).feedback
    assert not fedqs(label_gap=31.0).plan(view(0.5, 60.0, labels=[(0.75, 20), (0.45, 20)])).feedback


def test_labels_are_measured_for_slow_biased_clients_only() -> None:
    def never() -> Sequence[tuple[float, int]]:
        raise AssertionError("a forward pass that nobody needs")

    for speed, theta in ((2.0, 30.0), (2.0, 60.0), (0.5, 30.0)):
        seen = view(speed, theta)
        fedqs().plan(ClientView(seen.model, seen.extra, seen.client_state, 0.1, speed, seen.thresholds, never))


def test_switches() -> None:
    skewed = [(0.9, 20), (0.1, 20)]
    assert fedqs(momentum=False).plan(view(2.0, 36.0)).momentum == 0.0
    assert fedqs(adapt_lr=False).plan(view(2.0, 36.0)).lr == 0.1
    assert fedqs(feedback=False).plan(view(2.0, 60.0)).feedback is False
    assert fedqs(feedback=False).plan(view(0.5, 60.0, labels=skewed)).feedback is False


# Mod 3


def arrival(samples: int, *, feedback: bool = False, angle: float | None = None, count: int = 1) -> Arrival:
    return make_arrival(0, vector(1, 0, -1), vector(1, 2, 3), samples, 0, feedback, angle, count)


def weights(algorithm: FedQS, *arrivals: Arrival, mean_angle: float | None = 40.0) -> tuple[float, ...]:
    return algorithm.aggregate(Round(vector(0, 0, 0), arrivals, total_count=10, mean_angle=mean_angle)).weights


PLAIN = arrival(30, angle=20.0, count=8)
ASKING = arrival(10, feedback=True, angle=60.0, count=2)
# rarity = 0.1 - 2/10 = -0.1; (e/2)^-0.1 = exp(-0.1 (1 - ln 2)) = 0.9697807; G = 60/40 = 1.5


def test_published_weights() -> None:
    asked = 0.9697807 * 2.5**2 / 2  # 3.0305646
    total = 0.75 + asked
    assert weights(fedqs(), PLAIN, ASKING) == pytest.approx((0.75 / total, asked / total), rel=1e-6)


def test_released_weights() -> None:
    asked = 0.25 * 0.9697807 * (1 + 1.5**2)  # 0.7879468
    total = 0.75 + asked
    found = weights(fedqs(weight_form="released"), PLAIN, ASKING)
    assert found == pytest.approx((0.75 / total, asked / total), rel=1e-6)


def test_uniform_base_weights() -> None:
    asked = 0.5 * 0.9697807 * 3.25
    found = weights(fedqs(weight_form="released", base_weight="uniform"), PLAIN, ASKING)
    assert found == pytest.approx((0.5 / (0.5 + asked), asked / (0.5 + asked)), rel=1e-6)


def test_bias_counts_at_most_twice_the_mean() -> None:
    far, farther = (arrival(10, feedback=True, angle=angle, count=2) for angle in (80.0, 180.0))
    assert weights(fedqs(), PLAIN, far) == weights(fedqs(), PLAIN, farther)


def test_rarer_weighs_more() -> None:
    rare, common = (arrival(10, feedback=True, angle=60.0, count=count) for count in (1, 5))
    found = weights(fedqs(), rare, common)
    assert found[0] > found[1]
    assert found[0] / found[1] == pytest.approx(math.exp(0.4 * (1 - math.log(2))))


def test_sizes_alone_without_feedback() -> None:
    assert weights(fedqs(), arrival(30), arrival(10)) == pytest.approx((0.75, 0.25))
    unknown = arrival(10, feedback=True)
    assert weights(fedqs(), arrival(30), unknown, mean_angle=None) == pytest.approx((0.75, 0.25))


def test_both_modes() -> None:
    # weights 3/4 and 1/4; models (2, 2, 2) and (4, 2, 0); updates (1, 0, -1) and (4, 2, 0)
    arrivals = (arrival(30), make_arrival(1, vector(4, 2, 0), vector(0, 0, 0), 10, 0, False, None, 1))
    there = Round(vector(10, 10, 10), arrivals, total_count=2, mean_angle=None)
    assert fedqs(name="fedqs-avg").aggregate(there).model.tolist() == [2.5, 2.0, 1.5]
    assert fedqs(name="fedqs-sgd").aggregate(there).model.tolist() == [11.75, 10.5, 9.25]


def test_rounding_makes_nobody_above_average() -> None:
    mean = math.fsum([0.1] * 3) / 3
    assert not above(0.1, mean)
    assert not above(mean * (1 + 1e-15), mean)
    assert above(0.1000001, mean)
    assert above(-1.0, -1.1)
    assert not above(0.0, 0.0)
