"""The public names: adding one is a decision."""

import pytest

import fedqs_ray


def test_public_names() -> None:
    assert sorted(fedqs_ray.__all__) == [
        "Aggregation",
        "Algorithm",
        "Arrival",
        "ClientView",
        "Comparison",
        "ConfigError",
        "DataError",
        "Experiment",
        "FedqsError",
        "Plan",
        "Progress",
        "Result",
        "Round",
        "RunFolderError",
        "RunInterrupted",
        "SimulationStopped",
        "Summary",
        "Sweep",
        "__version__",
        "compare",
        "load",
        "resume",
        "run",
        "stream",
        "tune",
        "write_report",
    ]
    for name in fedqs_ray.__all__:
        assert getattr(fedqs_ray, name) is not None


def test_unknown_name() -> None:
    assert not hasattr(fedqs_ray, "nothing")


def test_a_renamed_name_is_told_in_one_line() -> None:
    with pytest.raises(AttributeError, match=r"^fedqs_ray\.SettingError is called fedqs_ray\.ConfigError now$"):
        _ = fedqs_ray.SettingError
