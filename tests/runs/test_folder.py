"""Run folders: what --overwrite may touch, and who gets a folder that several want."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fedqs_ray import RunFolderError
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.runs.folder import check_folder, claim_folder

VERSIONS = '[versions]\nfedqs_ray = "0.1.0"\n'


def to(folder: Path | str) -> Experiment:
    return load_experiment(None, out=str(folder))


def old_run(folder: Path) -> Path:
    """What a run leaves, and what somebody put beside it."""
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(VERSIONS)
    for name in ("rounds.parquet", "arrivals.arrows", "clients.parquet.tmp", "model.safetensors", "report.html"):
        (folder / name).touch()
    (folder / "pictures").mkdir()
    (folder / "pictures" / "staleness.svg").touch()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_overwriting_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    folder, precious = old_run(tmp_path / "run"), tmp_path / "precious"
    precious.write_text("thesis")
    (folder / "timing.parquet").symlink_to(precious)
    for name in ("thesis.tex", "pictures/me.png"):
        (folder / name).touch()
    check_folder(to(folder), overwrite=True)
    assert claim_folder(to(folder), overwrite=True) == folder
    assert names(folder) == ["config.toml", "pictures", "pictures/me.png", "rounds.arrows", "thesis.tex"]
    assert precious.read_text() == "thesis"
    assert load_experiment(folder / "config.toml").run.out == str(folder)


def test_linked_pictures_stay(tmp_path: Path) -> None:
    folder, album = old_run(tmp_path / "run"), tmp_path / "album"
    (folder / "pictures").rename(album)
    (folder / "pictures").symlink_to(album)
    claim_folder(to(folder), overwrite=True)
    assert names(album) == ["staleness.svg"]


@pytest.mark.parametrize(
    "files",
    [
        {"config.toml": VERSIONS},
        {"config.toml": "seed = 1\n", "rounds.parquet": ""},
        {"config.toml": "not TOML", "rounds.parquet": ""},
        {"rounds.parquet": ""},
    ],
)
def test_what_is_no_run_is_left_alone(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RunFolderError, match="holds no run, so --overwrite leaves it alone"):
        check_folder(to(tmp_path), overwrite=True)
    assert names(tmp_path) == sorted(files)


def test_the_current_folder_and_those_above_it_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = old_run(tmp_path / "run")
    (folder / "deep").mkdir()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(folder / "deep")
    for out in (".", "..", folder, tmp_path / "link"):
        (folder / "deep" / "a").touch()
        with pytest.raises(RunFolderError, match="so --overwrite leaves it alone"):
            check_folder(to(out), overwrite=True)


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        claimed = list(threads.map(lambda _: claim_folder(Experiment(), overwrite=False), range(8)))
    stem = "digits-fedqs-sgd-0"
    assert sorted(path.name for path in claimed) == [stem, *(f"{stem}-{n}" for n in range(2, 9))]


def test_only_one_of_several_runs_gets_a_named_folder(tmp_path: Path) -> None:
    claim_folder(to(tmp_path / "run"), overwrite=False)
    with pytest.raises(RunFolderError, match="already exists; choose another folder"):
        claim_folder(to(tmp_path / "run"), overwrite=False)
