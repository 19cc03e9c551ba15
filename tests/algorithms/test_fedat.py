"""FedAT with vectors of three numbers, by hand."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedqs_ray.algorithms.fedat import FedAT
from fedqs_ray.config.algorithms import FedATConfig
from fedqs_ray.core.interfaces import Aggregation, Arrival, ClientView, Round
from fedqs_ray.core.types import Plan, Thresholds, Vector
from fedqs_ray.testing import make_arrival


def vector(*numbers: float) -> Vector:
    return np.array(numbers, np.float32)


def arrival(local: Vector, samples: int = 10, staleness: int = 0) -> Arrival:
    """A client that started from (1, 1, 1) and ended at `local`."""
    start = vector(1, 1, 1)
    return make_arrival(0, local - start, start, samples, staleness, False, None, 1)


def aggregate(
    tiers: int, tier: int, *wave: Arrival, model: Vector, state: Mapping[str, NDArray[Any]] | None = None
) -> Aggregation:
    state = {} if state is None else state
    copy = deepcopy(state)
    result = FedAT(FedATConfig(tiers=tiers)).aggregate(Round(model, wave, 9, None, state=state, tier=tier))
    assert all(np.array_equal(copy[name], state[name]) for name in state), "state is not changed in place"
    assert len(result.weights) == len(wave)
    return result


ZERO = vector(6, 6, 6)
"""w^0."""


def test_three_tiers_over_three_rounds() -> None:
    # Tier 0: 3/4 (2, 2, 2) + 1/4 (4, 2, 0) = (2.5, 2, 1.5). T = (1, 0, 0): all weight is tier 2's, still at w^0.
    first = aggregate(3, 0, arrival(vector(2, 2, 2), 30), arrival(vector(4, 2, 0), 10), model=ZERO)
    assert first.model.tolist() == [6.0, 6.0, 6.0]
    assert first.weights == (0.0, 0.0)
    assert first.state["counts"].tolist() == [1, 0, 0]
    assert first.state["models"].tolist() == [[2.5, 2.0, 1.5], [6.0, 6.0, 6.0], [6.0, 6.0, 6.0]]
    # Tier 2: (0, 0, 3). T = (1, 0, 1): 1/2 (2.5, 2, 1.5) + 1/2 (0, 0, 3).
    second = aggregate(3, 2, arrival(vector(0, 0, 3), staleness=1), model=first.model, state=first.state)
    assert second.model.tolist() == [1.25, 1.0, 2.25]
    assert second.weights == (0.5,)
    # Tier 0 again: (4, 4, 4). T = (2, 0, 1), so tier 0 weighs 1/3 and tier 2 weighs 2/3: 1/3 (4, 4, 4) + 2/3 (0, 0, 3).
    third = aggregate(3, 0, arrival(vector(4, 4, 4)), model=second.model, state=second.state)
    assert third.model.tolist() == pytest.approx([4 / 3, 4 / 3, 10 / 3], rel=1e-6)
    assert third.weights == pytest.approx((1 / 3,))
    assert third.state["counts"].tolist() == [2, 0, 1]


def test_the_middle_tier_mirrors_itself() -> None:
    result = aggregate(3, 1, arrival(vector(2, 2, 2), 30), arrival(vector(4, 2, 0), 10), model=ZERO)
    assert result.model.tolist() == [2.5, 2.0, 1.5]
    assert result.weights == (0.75, 0.25)


def test_a_slow_tier_weighs_as_the_fast_one_comes() -> None:
    # T = (3, 1): tier 0 weighs 1/4, tier 1 weighs 3/4: 1/4 (8, 8, 8) + 3/4 (0, 4, 0)
    state = {"models": np.stack([vector(5, 5, 5), vector(0, 4, 0)]), "counts": np.array([2, 1])}
    result = aggregate(2, 0, arrival(vector(8, 8, 8), 1), arrival(vector(8, 8, 8), 3), model=ZERO, state=state)
    assert result.model.tolist() == [2.0, 5.0, 2.0]
    assert result.weights == pytest.approx((1 / 16, 3 / 16))


def test_one_tier_is_synchronous_fedavg() -> None:
    first = aggregate(1, 0, arrival(vector(2, 2, 2), 30), arrival(vector(4, 2, 0), 10), model=ZERO)
    assert (first.model.tolist(), first.weights) == ([2.5, 2.0, 1.5], (0.75, 0.25))
    second = aggregate(1, 0, arrival(vector(9, 0, 0)), model=first.model, state=first.state)
    assert (second.model.tolist(), second.weights) == ([9.0, 0.0, 0.0], (1.0,))


def test_plan_and_tiers() -> None:
    view = ClientView(vector(1), None, None, 0.3, None, Thresholds(), list)
    assert FedAT(FedATConfig()).plan(view) == Plan(lr=0.3, proximal=0.4)
    assert FedAT(FedATConfig()).tiers == 5
    assert FedAT(FedATConfig(tiers=3, proximal=0)).tiers == 3
    assert FedAT(FedATConfig(tiers=3, proximal=0)).plan(view) == Plan(lr=0.3)
