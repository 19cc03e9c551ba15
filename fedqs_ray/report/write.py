"""Reports: one page for a run, a comparison or a sweep."""

from pathlib import Path

from fedqs_ray.experiments.comparison import Comparison
from fedqs_ray.experiments.sweep import Sweep
from fedqs_ray.report.comparison_page import write_comparison_page
from fedqs_ray.report.run_page import write_run_page
from fedqs_ray.report.sweep_figure import draw_sweep
from fedqs_ray.runs.layout import PICTURES
from fedqs_ray.runs.result import Result


def write_report(found: Result | Comparison | Sweep) -> Path:
    """Write report.html of a run, comparison.html of a comparison, or sweep.png of a sweep; returns the path.

    Of a run in a store, the path is that of a local copy. Raises `RunFolderError` where the folder cannot be written,
    or its tables cannot be read.
    """
    if isinstance(found, Sweep):
        return draw_sweep(found)
    if isinstance(found, Comparison):
        return write_comparison_page(found)
    page = write_run_page(found)
    found.upload(page, *sorted((found.folder / PICTURES).iterdir()))
    return page
