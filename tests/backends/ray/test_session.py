"""A private Ray from beginning to end, in a process of its own."""

import os
from collections.abc import Callable
from typing import Any

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
from fedqs_ray.actors import cluster

def mine(*_):
    pass

signal.signal(signal.SIGTERM, mine)
with contextlib.redirect_stdout(io.StringIO()) as said, cluster.session(cpus=1):
    inside = signal.getsignal(signal.SIGTERM) is signal.default_int_handler

    @ray.remote(num_cpus=0)
    class Bomb:
        def explode(self):
            os._exit(1)

    with contextlib.suppress(ray.exceptions.RayActorError):
        ray.get(Bomb.remote().explode.remote())
    time.sleep(3)
after = signal.getsignal(signal.SIGTERM) is mine
Path(sys.argv[1]).write_text(json.dumps([said.getvalue(), inside, after]))
"""


def test_it_prints_nothing_and_leaves_signals_as_they_were(found_by: Callable[..., Any]) -> None:
    said, inside, after = found_by(SCRIPT, dict(os.environ))
    assert not said, "Ray has a notice of a process that died"
    assert inside, "SIGTERM interrupts, so that a run leaves a checkpoint"
    assert after
