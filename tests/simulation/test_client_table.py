import math

import numpy as np
import pytest

from fedqs_ray.core.types import Plan, Thresholds, Update
from fedqs_ray.simulation.client_table import ClientTable


def update(angle: float | None, lr: float = 0.2) -> Update:
    return Update(np.zeros(1, np.float32), Plan(lr=lr, angle=angle), 1, 0.0, 0.0, handle="d")


def test_speeds_and_thresholds_by_hand() -> None:
    table = ClientTable(4, 0.1)
    assert table.thresholds() == Thresholds(None, None)
    assert table.speed(0) is None
    table.aggregate([0, 0, 0, 1])
    # sum a = 4, mean a = 1: f = 3, 1, and nobody else is active: mean f = 2
    assert (table.speed(0), table.speed(1), table.speed(2)) == (3.0, 1.0, None)
    assert table.thresholds().speed == pytest.approx(2.0)
    table.aggregate([2])
    # sum a = 5: f = 12/5, 4/5, 4/5: mean 4/3
    assert table.thresholds().speed == pytest.approx(np.mean([12 / 5, 4 / 5, 4 / 5]))
    assert table.total == 5


def test_what_the_server_learns_with_an_arrival() -> None:
    table = ClientTable(3, 0.1)
    table.arrive(0, update(None), keep=False)
    assert table.mean_angle() is None
    table.arrive(1, update(30.0), keep=True)
    table.arrive(2, update(60.0, lr=0.3), keep=True)
    assert table.mean_angle() == pytest.approx(45.0)
    table.arrive(1, update(None), keep=True)  # an unknown angle does not erase the one before
    assert table.mean_angle() == pytest.approx(45.0)
    assert table.lr.tolist() == [0.2, 0.2, 0.3]
    assert table.client_states == {1: "d", 2: "d"}
    assert math.isnan(table.angle[0])


def test_what_is_kept_beside_the_columns_follows_them() -> None:
    """A long random life, against counting everything anew."""
    draw = np.random.default_rng(1)
    table = ClientTable(40, 0.1)
    for now in range(400):
        idle = table.idle(float(now))
        mask = ~table.busy & ~table.gone & (table.ready <= now)
        assert sorted(idle) == np.flatnonzero(mask).tolist()
        waiting = table.ready[~table.busy & ~table.gone & (table.ready > now)]
        assert table.next_ready(float(now)) == (waiting.min() if waiting.size else None)
        for client in draw.permutation(sorted(idle))[:5].tolist():
            table.start(client)
        for client in draw.permutation(np.flatnonzero(table.busy))[:3].tolist():
            table.end(client, now + float(draw.integers(0, 4)))
            angle = None if draw.random() < 0.2 else float(draw.random() * 180)
            table.arrive(client, update(angle), keep=False)
            table.aggregate([client])
        if now % 100 == 99:
            table.leave(draw.integers(0, 40, 5).tolist())
        assert table.under_way == np.count_nonzero(table.busy & ~table.gone)
        known = table.angle[~np.isnan(table.angle)]
        assert table.mean_angle() == (pytest.approx(math.fsum(known) / known.size, rel=1e-12) if known.size else None)
        assert table.thresholds().speed == pytest.approx(40 / np.count_nonzero(table.aggregated))
        if now % 50 == 0:
            before = (table.mean_angle(), table.thresholds(), table.under_way)
            table.count_up()
            assert (table.mean_angle(), table.thresholds(), table.under_way) == before, "to the bit"
    assert np.count_nonzero(table.gone) > 10


@pytest.mark.parametrize("busy", [0, 35])
def test_samples_are_uniform_without_replacement(busy: int) -> None:
    """Where most clients are idle, and where few are."""
    table = ClientTable(50, 0.1)
    table.idle(0.0)
    for client in range(busy):
        table.start(client)
    hits = np.zeros(50)
    for number in range(3000):
        chosen = table.sample(3, np.random.default_rng(number))
        assert len(chosen) == 3
        hits[list(chosen)] += 1
    idle = 50 - busy
    assert not hits[:busy].any()
    expected = 3 * 3000 / idle
    chi = float(((hits[busy:] - expected) ** 2 / expected).sum())
    assert chi < idle + 5 * math.sqrt(2 * idle)
