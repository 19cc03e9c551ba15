"""The lock on a run's folder: one holder, gone with its process, and asked for without the file's being there."""

import subprocess
import sys
from pathlib import Path

import pytest

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.runs.lock import hold_lock, is_locked

HOLD = """
import sys, time
from pathlib import Path
from fedqs_ray.runs.lock import hold_lock

with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


def test_one_holder(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not list(tmp_path.iterdir()), "whoever asks leaves nothing"
    with hold_lock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(RunFolderError, match=f"^{tmp_path}: a run is going on there$"), hold_lock(tmp_path):
            pass
        assert is_locked(tmp_path), "a refused one takes nothing away"
    assert not is_locked(tmp_path)
    with hold_lock(tmp_path):
        pass


def test_a_killed_holder_lets_the_next_one_in(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        assert is_locked(tmp_path)
        with pytest.raises(RunFolderError, match="a run is going on there"), hold_lock(tmp_path):
            pass
        process.kill()
    assert (tmp_path / ".lock").exists()
    assert not is_locked(tmp_path)
    with hold_lock(tmp_path):
        assert is_locked(tmp_path)


def test_a_file_that_no_process_locks_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert not is_locked(tmp_path)
