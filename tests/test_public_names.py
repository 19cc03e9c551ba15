"""The public names: adding one is a decision."""

import fedqs_ray


def test_public_names() -> None:
    assert sorted(fedqs_ray.__all__) == [
        "Aggregation",
        "Algorithm",
        "ClientView",
        "Comparison",
        "Experiment",
        "Plan",
        "Result",
        "Round",
        "ConfigError",
        "SimulationStopped",
        "Summary",
        "compare",
        "load",
        "resume",
        "run",
    ]
    for name in fedqs_ray.__all__:
        assert getattr(fedqs_ray, name) is not None


def test_unknown_name() -> None:
    assert not hasattr(fedqs_ray, "nothing")
