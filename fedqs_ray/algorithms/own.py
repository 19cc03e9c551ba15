"""A user's own algorithm, by the path of its class."""

import difflib
import importlib
import inspect
import sys
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fedqs_ray.config import SettingError
from fedqs_ray.messages import Algorithm
from fedqs_ray.methods import OwnConfig

MEMBERS = ("needs", "tiers", "plan", "correction", "keep", "aggregate")
"""What an algorithm has."""


def load_own(config: OwnConfig) -> Algorithm:
    """The algorithm at `config.path`, made with `config.settings`. Raises `SettingError`.

    The settings of a dataclass are checked against the types of its fields.
    """
    kind = find(config.path)
    known = list(inspect.signature(kind).parameters)
    for name in config.settings:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean algorithm.{close[0]}?" if close else f"known here: {', '.join(known) or 'none'}"
            raise SettingError(f"algorithm.{name}: no such setting of {config.path}; {hint}")
    try:
        made = TypeAdapter(kind).validate_python(config.settings) if is_dataclass(kind) else kind(**config.settings)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(["algorithm", *map(str, first["loc"])])
        what = f"{place} = {first['input']!r}" if first["loc"] else f'algorithm.name = "{config.path}"'
        raise SettingError(f"{what}: {first['msg'].removeprefix('Value error, ')}") from None
    except (TypeError, ValueError) as error:
        raise SettingError(f'algorithm.name = "{config.path}": cannot be made: {error}') from None
    missing = [name for name in MEMBERS if not hasattr(made, name)]
    if missing:
        raise SettingError(
            f'algorithm.name = "{config.path}": has no {", ".join(missing)}; derive it from fedqs_ray.Algorithm'
        )
    found: Algorithm = made
    return found


def find(path: str) -> Any:
    """The class at "package.module:Class"."""
    module, _, name = path.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the working folder: a console script does not look there
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(f'algorithm.name = "{path}": {error}; must be "package.module:Class"') from None


def is_dataclass(kind: Any) -> bool:
    """Whether its fields say what its settings are."""
    return hasattr(kind, "__dataclass_fields__")
