"""Ray's errors as one line."""

import json
from pathlib import Path

import pytest
import ray
from ray.exceptions import GetTimeoutError, ObjectStoreFullError, OutOfMemoryError, RayError, RaySystemError

import fedqs_ray
from fedqs_ray import ConfigError, SimulationStopped
from fedqs_ray.backends.ray import session as cluster
from fedqs_ray.backends.ray.driver import explain_end
from fedqs_ray.backends.ray.error_text import locate_user_code
from fedqs_ray.backends.ray.session import open_session
from fedqs_ray.core.text import clean_message, shorten_message

TRACED = """The actor died in its creation task, \x1b[36mray::A.__init__()\x1b[39m (pid=1)
  File "a.py", line 6, in __init__
    raise ValueError("boom")
ValueError: boom
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TRACED, "ValueError: boom"),
        (
            "\x1b[31mThe actor died\x1b[0m unexpectedly.\n\tclass_name: A\nSome causes: ...",
            "The actor died unexpectedly.",
        ),
        ("\n  one\tline  \n", "one line"),
        ("", "RuntimeError"),
    ],
)
def test_brief(text: str, line: str) -> None:
    assert shorten_message(RuntimeError(text)) == line


def test_the_last_line_of_the_users_own_code_is_named() -> None:
    """Where there is one. Python's marks go with the lines that they mark."""
    assert locate_user_code(RuntimeError("boom")) == ""
    package, library = Path(fedqs_ray.__file__).parent, Path(json.__file__)
    frames = [f"{package}/tasks/local.py", "/home/me/mine.py", f"{library}", "/x/site-packages/numpy/a.py"]
    frames.append(f"{package}/training/trainer.py")
    lines = "".join(f'  File "{file}", line {place}, in f{place}\n    ^^^^^\n' for place, file in enumerate(frames))
    error = RuntimeError(f"{lines}ValueError: read-only")
    assert locate_user_code(error) == " (mine.py:1, in f1)"
    assert "^" not in clean_message(error)
    assert shorten_message(error) == "ValueError: read-only"


@pytest.mark.parametrize("kind", [GetTimeoutError, RaySystemError, ObjectStoreFullError, OutOfMemoryError])
def test_any_error_of_ray_ends_in_one_line_that_names_the_folder(kind: type[RayError], tmp_path: Path) -> None:
    found = explain_end(kind("too \x1b[31mmuch\x1b[0m\nand more"), tmp_path)
    assert isinstance(found, SimulationStopped)
    assert found.folder == str(tmp_path)
    assert str(found).startswith(f"stopped: {kind.__name__}: ")
    assert "\n" not in str(found)
    assert "too much" in str(found)
    assert str(found).endswith(f"; what it wrote is in {tmp_path}, the traceback in error.txt")
    assert "and more" in (tmp_path / "error.txt").read_text()
    nowhere = explain_end(kind("too much"), tmp_path / "removed")
    assert str(nowhere).endswith("; what it wrote is in " + str(tmp_path / "removed"))


@pytest.mark.parametrize(
    ("address", "kind", "message"),
    [
        ("a:1", ConfigError, r'^run\.address = "a:1": no Ray cluster there: Version mismatch$'),
        ("local", SimulationStopped, "^Ray cannot start: Version mismatch$"),
    ],
)
def test_ray_that_does_not_start(
    monkeypatch: pytest.MonkeyPatch, address: str, kind: type[Exception], message: str
) -> None:
    def init(**_: object) -> None:
        raise RuntimeError("\x1b[31mVersion mismatch\x1b[0m\n\tRay: 1.0")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(cluster, "knock", lambda _: None)
    with pytest.raises(kind, match=message), open_session(address):
        pass
