"""Checkpoint files: whole or refused, and never more than needed."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedqs_ray.core.exceptions import RunFolderError
from fedqs_ray.core.rows import JobRow, Snapshot
from fedqs_ray.runs.checkpoints import find_newest, list_checkpoints, read_checkpoint, save_checkpoint
from fedqs_ray.runs.tables import TableWriter


def state(version: int) -> Snapshot:
    arrays: list[tuple[str, Any]] = [
        ("a", np.arange(6, dtype=np.float32).reshape(2, 3)),
        ("b", np.array([True, False])),
        ("c", np.full(3, np.nan)),
        ("d", np.empty(0, np.float32)),
        ("e", np.array(7.5)),
    ]
    return Snapshot({"version": version, "rows": {"arrivals": 2}, "nan": float("nan"), "tenth": 0.1}, arrays)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    writer = TableWriter(tmp_path, "arrivals")
    for client in range(2):
        writer.append(JobRow(client, 0, 0, 0.0, 1.0, "lost"))
    writer.close()
    return tmp_path


def test_what_goes_in_comes_out_to_the_bit(folder: Path) -> None:
    save_checkpoint(folder, state(3))
    path, facts = find_newest(folder)
    found = read_checkpoint(path)
    assert found.facts == facts
    assert (facts["version"], facts["tenth"]) == (3, 0.1)
    assert np.isnan(facts["nan"])
    for (name, array), (expected_name, expected) in zip(found.arrays, state(3).arrays, strict=True):
        assert name == expected_name
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
        assert array.tobytes() == expected.tobytes()


def test_two_are_kept_and_no_half_file_stays(folder: Path) -> None:
    for version in range(4):
        save_checkpoint(folder, state(version))
    assert [path.name[:8] for path in list_checkpoints(folder)] == ["00000003", "00000002"]
    assert len(list((folder / "checkpoints").iterdir())) == 2

    def broken() -> Any:
        yield from state(9).arrays
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="space"):
        save_checkpoint(folder, Snapshot(state(9).facts, broken()))
    assert [path.name[:8] for path in list_checkpoints(folder)] == ["00000003", "00000002"]
    assert len(list((folder / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("harm", ["truncated", "one bit", "empty", "short table"])
def test_a_damaged_one_is_passed_over_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture, harm: str) -> None:
    save_checkpoint(folder, state(1))
    newest = save_checkpoint(folder, state(2))
    whole = bytearray(newest.read_bytes())
    if harm == "short table":
        newest.unlink()
        save_checkpoint(folder, Snapshot(state(2).facts | {"rows": {"arrivals": 3}}, state(2).arrays))
    else:
        whole[len(whole) // 2] ^= 1
        newest.write_bytes({"truncated": bytes(whole[:-9]), "one bit": bytes(whole), "empty": b""}[harm])
    with caplog.at_level(logging.WARNING):
        path, _ = find_newest(folder)
    assert path.name.startswith("00000001")
    assert "is damaged" in caplog.text


def test_none_that_can_be_read(folder: Path) -> None:
    with pytest.raises(RunFolderError, match="holds no checkpoint"):
        find_newest(folder)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "00000001-0000000001-00.arrows").write_bytes(b"nonsense")
    with pytest.raises(RunFolderError, match="holds no checkpoint"):
        find_newest(folder)
