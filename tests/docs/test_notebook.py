"""examples/quickstart.ipynb runs from its first cell to its last, in a kernel of its own."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture
def notebook() -> Any:
    read: Any = nbformat.read  # has no types
    return read(PATH, as_version=4)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert PATH.stat().st_size < 20_000


@pytest.mark.full
def test_it_runs(notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    client: Any = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs if "data" in output]
    assert sum("image/png" in data for data in shown) == 4
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert any("fedqs-sgd" in table for table in tables), "the comparison"
    assert any("best accuracy" in table for table in tables), "the class in the cell ran on the actors"
    assert any(" of 160" in table for table in tables), "resumed"
    assert not [path for path in tmp_path.iterdir() if not path.name.startswith("quickstart-")]
