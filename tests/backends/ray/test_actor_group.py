"""Actors that die, that cannot start, or that find no room."""

import logging
import os
import time
from typing import Any

import pytest
import ray

from fedqs_ray.backends.ray.actor_group import ACTOR_ERRORS, ActorGroup
from fedqs_ray.backends.ray.scheduler import DEATHS_PER_MINUTE
from fedqs_ray.core.exceptions import InvariantError, SimulationStopped

pytestmark = pytest.mark.usefixtures("ray_session")


class Mortal:
    """Dies at its first call."""

    def node(self) -> tuple[str, str]:
        os._exit(1)


class Unable:
    """Fails to start."""

    def __init__(self) -> None:
        raise ImportError("No module named 'missing'")

    def node(self) -> tuple[str, str]:
        return "nowhere", "cpu"


class Steady:
    """Stays alive."""

    def node(self) -> tuple[str, str]:
        return "here", "cpu"

    def work(self) -> int:
        return 7


class Slow(Steady):
    """Needs four seconds for a call."""

    def work(self) -> int:
        time.sleep(4)
        return 7


def actor(kind: type, **options: float) -> Any:
    return ray.remote(kind).options(num_cpus=options.get("num_cpus", 1)).remote()


def test_too_many_deaths_within_a_minute_end_the_run() -> None:
    group = ActorGroup(lambda: actor(Mortal), 2)
    with pytest.raises(SimulationStopped, match=rf"^{DEATHS_PER_MINUTE + 3} client actors died within a minute; the"):
        list(iter(lambda: group.wait([], None), "never"))


def test_an_actor_that_cannot_start_names_the_cause() -> None:
    group = ActorGroup(lambda: actor(Unable), 1)
    with pytest.raises(SimulationStopped, match=r"^a client actor could not start: .*No module named 'missing'$"):
        group.wait([], None)


def test_no_room_within_its_patience() -> None:
    group = ActorGroup(lambda: actor(Steady, num_cpus=99), 1, patience=1.0)
    with pytest.raises(SimulationStopped, match=r"^no client actor could be started within 1 s; .* 2 CPUs"):
        group.wait([], None)


def test_the_dead_are_replaced_once_and_their_place_goes_on() -> None:
    group = ActorGroup(lambda: actor(Steady), 2)
    group.wait_for_start()
    assert [member.node for member in group.members] == ["here", "here"]
    with pytest.raises(InvariantError, match="never submitted"):
        group.wait([], None)
    dead = group.members[0]
    ray.kill(dead.actor)
    with pytest.raises(ACTOR_ERRORS):
        list(iter(lambda: ray.get(dead.actor.work.remote()), "until it is dead"))
    calls = [dead.actor.work.remote() for _ in range(2)]
    for call in calls:
        with pytest.raises(ACTOR_ERRORS) as caught:
            ray.get(call)
        group.report_death(dead, caught.value)
    assert group.members[0] is not dead
    assert group.members[0].node is None
    group.wait_for_start()
    assert ray.get([member.actor.work.remote() for member in group.members]) == [7, 7]


def test_a_long_wait_leaves_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    group = ActorGroup(lambda: actor(Slow), 1, stall=0.3)
    group.wait_for_start()
    call, began = group.members[0].actor.work.remote(), time.monotonic()
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="fedqs_ray"):
        assert not group.wait([call], 0.1)
        assert not caplog.records, "no stall yet"
        assert group.wait([call], None) == [call]
    seconds = time.monotonic() - began
    assert {record.getMessage() for record in caplog.records} == {"nothing finished"}
    assert 2 <= len(caplog.records) <= seconds / 0.3, "one for every stall"
    assert caplog.records[0].__dict__["calls"] == 1
