from pathlib import Path
from types import SimpleNamespace

import pytest

from fedqs_ray import RunFolderError
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.tables import ARRIVALS, TableWriter, read_table


def rows(count: int) -> list[dict[str, float | int]]:
    return [{"round": n, "seconds": n / 10} for n in range(count)]


def test_the_same_rows_give_the_same_bytes_however_they_came(tmp_path: Path) -> None:
    contents = []
    for name, step in (("a", 1), ("b", 7), ("c", 1000)):
        (tmp_path / name).mkdir()
        writer = TableWriter(tmp_path / name, "timing")
        for n, row in enumerate(rows(100)):
            writer.append(SimpleNamespace(**row))
            if n % step == 0:
                writer.flush()
        writer.close()
        contents.append((tmp_path / name / "timing.parquet").read_bytes())
        assert not (tmp_path / name / "timing.arrows").exists()
    assert contents[0] == contents[1] == contents[2]
    assert read_table(tmp_path / "a", "timing").to_pylist() == rows(100)


def test_a_killed_writer_leaves_what_it_flushed(tmp_path: Path) -> None:
    writer = TableWriter(tmp_path, "timing")
    for row in rows(10):
        writer.append(SimpleNamespace(**row))
    writer.flush()
    assert read_table(tmp_path, "timing").to_pylist() == rows(10)
    whole = writer.path.read_bytes()
    for row in rows(3):
        writer.append(SimpleNamespace(**row))
    writer.flush()
    longer = writer.path.read_bytes()
    for cut in range(len(longer)):  # killed at any byte
        writer.path.write_bytes(longer[:cut])
        client_state = read_table(tmp_path, "timing").to_pylist()
        assert client_state in ([], rows(10))
        assert client_state or cut < len(whole)


def test_a_kill_while_the_table_is_finished_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"PAR1 half of a")
        raise KeyboardInterrupt

    writer = TableWriter(tmp_path, "timing")
    for row in rows(10):
        writer.append(SimpleNamespace(**row))
    monkeypatch.setattr("pyarrow.parquet.write_table", killed)
    with pytest.raises(KeyboardInterrupt):
        writer.close()
    assert read_table(tmp_path, "timing").to_pylist() == rows(10)


def test_a_model_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = FolderRecorder(tmp_path)
    monkeypatch.setattr("fedqs_ray.runs.recorder.save_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        recorder.finish([], [], {})
    assert not (tmp_path / "model.safetensors").exists()


def test_damaged_and_missing_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"timing\.parquet: cannot be read: .*timing\.arrows"):
        read_table(tmp_path, "timing")
    (tmp_path / "timing.parquet").write_text("precious")
    with pytest.raises(RunFolderError, match=r"timing\.parquet: cannot be read: "):
        read_table(tmp_path, "timing")


def test_an_empty_table_is_a_table(tmp_path: Path) -> None:
    TableWriter(tmp_path, "arrivals").close()
    table = read_table(tmp_path, "arrivals")
    assert len(table) == 0
    assert table.schema.names == ARRIVALS.names
