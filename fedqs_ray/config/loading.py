"""Loading of settings from TOML files and overrides; a mistake raises a `ConfigError` of one line."""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.explain import explain_error
from fedqs_ray.config.schema import Schema, find_sections, is_optional, list_kind_names, read_schema
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import format_value, make_printable


def load_experiment(
    path: str | Path | None = None, overrides: Sequence[str] = (), *, out: str | None = None
) -> Experiment:
    """Load the experiment of a TOML file (or the defaults) with `section.key=value` overrides on top.

    Of several overrides of a key the last counts; `key=none` unsets a setting that may be unset. `out` is the literal
    value of run.out. Raises `ConfigError` with one line that names the setting, the value and what is
    allowed.
    """
    data = read_toml(Path(path)) if path is not None else {}
    for override in overrides:
        apply_override(data, override)
    if out is not None:
        assign_setting(data, ["run", "out"], out)
    return validate_experiment(data)


def apply_override(data: dict[str, Any], override: str) -> None:
    """Write a `section.key=value` into a configuration tree."""
    keys, text = split_override(override)
    unset = text == "none" and is_optional(".".join(keys))
    assign_setting(data, keys, None if unset else parse_value(text))


def split_override(override: str) -> tuple[list[str], str]:
    """Split a `section.key=value` into its keys and the text of its value. Raises `ConfigError`."""
    name, equals, text = override.partition("=")
    keys = [key.strip() for key in name.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {make_printable(override)}: must look like section.key=value")
    return keys, text.strip()


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file into a dictionary. Raises `ConfigError`."""
    name = make_printable(str(path), limit=300)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise ConfigError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise ConfigError(f"{name}: not a TOML file of settings: nested too deeply") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: not a TOML file: {make_printable(str(error), limit=200)}") from None
    except ValueError:
        raise ConfigError(f"{name}: not a TOML file of settings: a number has thousands of digits") from None


def parse_value(text: str) -> Any:
    """Parse a value as TOML (30, 0.1, true, [1, 2]); anything else is a string."""
    try:
        found = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return found["value"] if len(found) == 1 else text


def assign_setting(data: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set data[k1][k2].. = value, and add missing tables. Raises `ConfigError`."""
    table = data
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            validate_experiment(data)  # has a better message where a section was given a value
            raise ConfigError(f"{make_printable('.'.join(keys))}: {key} is a setting, not a section")
    table[keys[-1]] = value


def vary_experiment(
    base: Experiment, *, algorithm: str, scenario: str, seed: int, out: str, overrides: Sequence[str] = ()
) -> Experiment:
    """Copy `base` with another algorithm, scenario and seed, and with overrides on top. Raises `ConfigError`.

    Settings given in `base` are copied where the new kinds have them.
    """
    data = base.model_dump(exclude_unset=True)
    for section, name in (("algorithm", algorithm), ("scenario", scenario)):
        own = getattr(base, section)
        given = own.model_dump(exclude_unset=True) if section in base.model_fields_set else {}
        kinds = find_sections(read_schema()["properties"][section])
        if name == given.get("path"):
            continue  # an algorithm of the user's own
        known: Schema = next((kind["properties"] for kind in kinds if name in list_kind_names(kind)), {})
        data[section] = {key: value for key, value in given.items() if key in known} | {"name": name}
    data["run"] = data.get("run", {}) | {"out": out}
    for override in overrides:
        apply_override(data, override)
    return validate_experiment(data | {"seed": seed})


def find_difference(one: Experiment, other: Experiment) -> str | None:
    """Find the first setting that differs between two experiments, as "path (a, not b)"; None if there is none.

    Settings without influence on results are ignored: the place of results, the cluster, the number of actors. The
    number of clients trained together has an influence on the last bits.
    """
    placement: Any = {
        "run": {"out", "address", "wait_for_nodes", "checkpoint_every", "tensorboard"},
        "clients": {"actors", "clients_per_actor"},
        "versions": True,
    }
    first, second = (
        flatten(e.model_dump(mode="json", exclude=placement)) | {"training.clients_per_step": e.clients_per_step}
        for e in (one, other)
    )
    for key in first | second:
        if first.get(key) != second.get(key):
            return f"{key} ({format_value(first.get(key))}, not {format_value(second.get(key))})"
    return None


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested tables to dotted names."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def validate_experiment(data: dict[str, Any]) -> Experiment:
    """Validate a tree of settings. Raises `ConfigError` with one line about its first mistake."""
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ConfigError(explain_error(error)) from None
