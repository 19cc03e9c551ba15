"""The recorder's clock. What else it writes is seen wherever a run is."""

import time
from pathlib import Path

from fedqs_ray.core.rows import RoundRow
from fedqs_ray.runs.recorder import FolderRecorder
from fedqs_ray.runs.tables import read_table


def test_seconds_count_from_the_first_row_also_where_that_is_a_version(tmp_path: Path) -> None:
    recorder = FolderRecorder(tmp_path)
    began = time.perf_counter()
    for number in range(3):
        recorder.round(RoundRow(number, 0.0, None, None, None, None, 0, None, 0, 0, 0, 0))
    recorder.finish([], [], {})
    seconds = read_table(tmp_path, "timing")["seconds"].to_pylist()
    assert seconds == sorted(seconds)
    assert 0.0 <= seconds[0] <= seconds[-1] <= time.perf_counter() - began
