"""Settings of a run folder: its config.toml, also where an earlier version of this package wrote it."""

from collections.abc import Sequence
from pathlib import Path

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.explain import RENAMED
from fedqs_ray.config.loading import apply_override, assign_setting, read_toml, validate_experiment
from fedqs_ray.core.exceptions import ConfigError, RunFolderError


def load_run_settings(path: Path, overrides: Sequence[str] = (), *, out: str | None = None) -> Experiment:
    """Load the config.toml of a run, with `overrides` and `out` on top as in `load_experiment`.

    Raises `RunFolderError` where the file is at fault, and `ConfigError` where an override is.
    """
    try:
        data = read_toml(path)
        for before, now in RENAMED.items():
            section, old = before.split(".")
            if isinstance(table := data.get(section), dict) and old in table:
                assign_setting(data, now.split("."), table.pop(old))
        experiment = validate_experiment(data)
    except ConfigError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise RunFolderError(f"{path}: {reason}") from None
    if not overrides and out is None:
        return experiment
    for override in overrides:
        apply_override(data, override)
    if out is not None:
        assign_setting(data, ("run", "out"), out)
    return validate_experiment(data)
