"""A user's own algorithm, by the path of its class."""

import difflib
import importlib
import inspect
import sys
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fedqs_ray.config.algorithms import OwnConfig
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.types import Need

MEMBERS = ("needs", "tiers", "plan", "correction", "client_state", "aggregate")
"""What an algorithm has."""
NEEDS = frozenset(get_args(Need))


def load_own(config: OwnConfig) -> Algorithm:
    """The algorithm at `config.path`, made with `config.settings`. Raises `ConfigError`.

    The settings of a dataclass are checked against the types of its fields.
    """
    kind, name = find_class(config.path), f'algorithm.name = "{config.path}"'
    known = list_parameters(kind)
    for setting in config.settings:
        if setting not in known:
            close = difflib.get_close_matches(setting, known, n=1)
            hint = f"did you mean algorithm.{close[0]}?" if close else f"known here: {', '.join(known) or 'none'}"
            raise ConfigError(f"algorithm.{setting}: no such setting of {config.path}; {hint}")
    try:
        made = TypeAdapter(kind).validate_python(config.settings) if is_dataclass(kind) else kind(**config.settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(["algorithm", *map(str, first["loc"])])
        what = f"{place} = {first['input']!r:.60}" if first["loc"] else name
        why = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        raise ConfigError(f"{what}: {why}") from None
    except Exception as error:  # noqa: BLE001  whatever a user's class raises
        raise ConfigError(f"{name}: cannot be made: {error}") from None
    missing = [member for member in MEMBERS if not hasattr(made, member)]
    if missing:
        raise ConfigError(f"{name}: has no {', '.join(missing)}; derive it from fedqs_ray.Algorithm")
    found: Algorithm = made
    if not isinstance(found.needs, frozenset) or not found.needs <= NEEDS:
        raise ConfigError(f"{name}: needs = {found.needs!r}: must be a frozenset out of {', '.join(sorted(NEEDS))}")
    if not isinstance(found.tiers, int) or found.tiers < 0:
        raise ConfigError(f"{name}: tiers = {found.tiers!r}: must be a whole number, at least 0")
    return found


def find_class(path: str) -> Any:
    """The class at "package.module:Class"."""
    module, _, name = path.partition(":")
    if "" not in sys.path:
        sys.path.append("")  # the working folder: a console script does not look there
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # noqa: BLE001  whatever a user's module raises
        raise ConfigError(f'algorithm.name = "{path}": {error}; must be "package.module:Class"') from None
    if not inspect.isclass(found):
        raise ConfigError(f'algorithm.name = "{path}": is no class; must be "package.module:Class"')
    return found


def list_parameters(kind: Any) -> list[str]:
    """What its constructor takes."""
    try:
        return list(inspect.signature(kind).parameters)
    except ValueError:  # some built-in classes do not tell
        return []


def list_whole_parameters(kind: Any) -> frozenset[str]:
    """Which of them are whole numbers and no other ones."""
    try:
        hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__)
    except (NameError, TypeError):  # it cannot be told from here
        return frozenset()
    return frozenset(name for name, hint in hints.items() if hint is int)


def is_dataclass(kind: Any) -> bool:
    """Whether its fields say what its settings are."""
    return hasattr(kind, "__dataclass_fields__")
