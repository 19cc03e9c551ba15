"""Ray sessions from beginning to end, private ones in processes of their own."""

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
import ray

from fedqs_ray.backends.ray.session import SMALL_OBJECTS, open_session
from fedqs_ray.training.device import LOGICAL_GPUS

SCRIPT = """
import contextlib
import io
import json
import os
import signal
import sys
import time
from pathlib import Path
import ray
from fedqs_ray.backends.ray.session import open_session
from fedqs_ray.training.device import LOGICAL_GPUS

def mine(*_):
    pass

def variables():
    return [name in os.environ for name in (LOGICAL_GPUS, "RAY_max_direct_call_object_size")]

signal.signal(signal.SIGTERM, mine)
with contextlib.redirect_stdout(io.StringIO()) as said, open_session(cpus=1, gpus=1):
    inside = signal.getsignal(signal.SIGTERM) is signal.default_int_handler

    @ray.remote(num_cpus=0)
    class Mortal:
        def die(self):
            os._exit(1)

    @ray.remote
    def look():
        return variables()

    there = ray.get(look.remote())
    with contextlib.suppress(ray.exceptions.RayActorError):
        ray.get(Mortal.remote().die.remote())
    time.sleep(3)
after = signal.getsignal(signal.SIGTERM) is mine
Path(sys.argv[1]).write_text(json.dumps([said.getvalue(), inside, after, there, variables()]))
"""


def test_it_prints_nothing_and_leaves_signals_and_environment_as_they_were(found_by: Callable[..., Any]) -> None:
    ours = (LOGICAL_GPUS, *SMALL_OBJECTS)  # which the tests' own session may have set
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    said, inside, after, there, left = found_by(SCRIPT, environment)
    assert not said, "Ray has a notice of a process that died"
    assert inside, "SIGTERM interrupts, so that a run leaves a checkpoint"
    assert after
    assert there == [True, True]
    assert left == [False, False]


@pytest.mark.usefixtures("ray_session")
def test_a_session_that_wins_over_another_address_says_so(caplog: pytest.LogCaptureFixture) -> None:
    own = ray.get_runtime_context().gcs_address
    port = own.rpartition(":")[2]
    with caplog.at_level(logging.WARNING, logger="fedqs_ray"):
        for address in ("local", "auto", own, f"localhost:{port}"):
            with open_session(address):
                pass
        assert not caplog.records
        for address in ("10.1.2.3:6379", f"10.1.2.3:{port}", f"127.0.0.1:{int(port) - 1}"):
            with open_session(address):
                pass
            message = f'run.address = "{address}": not used, this process is connected to Ray at {own}'
            assert caplog.records.pop().getMessage() == message
            caplog.clear()
    assert ray.is_initialized()
    assert os.environ[LOGICAL_GPUS], "the session of the tests has logical GPUs"
