"""Names of places: what is here, what is elsewhere, and what of them may be shown."""

from pathlib import Path

import pytest
from pyarrow import fs

from fedqs_ray.core.text import hide_secrets
from fedqs_ray.runs.location import find_local_folder, name_file
from fedqs_ray.runs.store import connect_store, limit_waiting


@pytest.mark.parametrize(
    ("place", "path"),
    [
        ("runs/a", "runs/a"),
        ("s3:/bucket", "s3:/bucket"),
        ("file:///tmp/a%20b", "/tmp/a b"),
        ("file://host/a", None),
        ("s3://bucket/run", None),
        ("hdfs://host:8020/run", None),
    ],
)
def test_here(place: str, path: str | None) -> None:
    assert find_local_folder(place) == (None if path is None else Path(path))
    assert find_local_folder(Path(place)) == Path(place)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://KEY:SECRET@bucket/run", "s3://bucket/run"),
        ("s3://KEY:SEC/R@ET@bucket/run?region=x", "s3://bucket/run?region=x"),
        ("s3://KEY:12345@bucket/run", "s3://bucket/run"),
        ("s3://bucket/a:b@c", "s3://bucket/a:b@c"),
        ("hdfs://host:8020/a@b", "hdfs://host:8020/a@b"),
        ("abfs://data@account.host/run?client_secret=SECRET&tenant_id=a", None),
        ("fedqs: s3://KEY:SECRET@bucket/run: holds no run", "fedqs: s3://bucket/run: holds no run"),
        ("no place at all: a@b", "no place at all: a@b"),
    ],
)
def test_no_secret_is_shown(text: str, shown: str | None) -> None:
    expected = shown or "abfs://data@account.host/run?client_secret=...&tenant_id=a"
    assert hide_secrets(text) == expected


def test_files_inside() -> None:
    assert name_file("runs/a", "report.html") == "runs/a/report.html"
    assert name_file("runs/a?b", "report.html") == "runs/a?b/report.html"
    assert name_file("s3://bucket/run/?region=x", "report.html") == "s3://bucket/run/report.html?region=x"


def test_s3_without_the_options_that_pyarrow_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file system is used as it is, with longer waits."""
    files, _ = connect_store("s3://KEY:SECRET@bucket/run?region=eu-north-1")
    assert files.__reduce__()[1][0]["connect_timeout"] == 5
    plain, _ = fs.FileSystem.from_uri("s3://KEY:SECRET@bucket/run?region=eu-north-1")

    class Silent:
        type_name = "s3"

        def __reduce__(self) -> str:
            return "other"

    silent = Silent()
    assert limit_waiting(silent) is silent
    monkeypatch.setattr(fs, "S3FileSystem", lambda **_: (_ for _ in ()).throw(TypeError("no such option")))
    assert limit_waiting(plain) is plain
