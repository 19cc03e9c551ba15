import pytest

from fedqs_ray.runs.curves import count_rounds_to_95, find_first_round, measure_stability, smooth


def test_smoothed_is_a_trailing_mean_of_five() -> None:
    assert smooth([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.68])


def test_first_round_and_95_percent() -> None:
    rounds, accuracy = [0, 2, 4, 6, 8, 10, 12], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    # smoothed: 0, 1/2, 2/3, 3/4, 4/5, 1, 1
    assert find_first_round(rounds, accuracy, 0.75) == 6
    assert find_first_round(rounds, accuracy, 1.01) is None
    assert count_rounds_to_95(rounds, accuracy) == 10
    assert count_rounds_to_95([], []) is None


def test_stability() -> None:
    assert measure_stability([0.0] * 6 + [0.5, 0.7, 0.6, 0.6][:2]) == pytest.approx(0.2)
    assert measure_stability([0.5]) is None
