"""Algorithms of the user's own, by the path of their class."""

import inspect
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fedqs_ray.config.algorithms import OwnConfig
from fedqs_ray.config.explain import name_expected
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.interfaces import Algorithm
from fedqs_ray.core.own_code import find_class
from fedqs_ray.core.text import format_value, suggest_name
from fedqs_ray.core.types import Need

MEMBERS = ("needs", "tiers", "plan", "correction", "client_state", "aggregate")
"""Members that an algorithm must have."""
NEEDS = frozenset(get_args(Need))


def load_own(config: OwnConfig) -> Algorithm:
    """Make the algorithm at `config.path` with `config.settings`. Raises `ConfigError`.

    The settings of a dataclass are checked against the types of its fields.
    """
    kind, name = find_algorithm(config.path), f'algorithm.name = "{config.path}"'
    known = list_parameters(kind)
    for setting in config.settings:
        if setting not in known:
            hint = suggest_name(setting, known, "algorithm.") or f"; known here: {', '.join(known) or 'none'}"
            raise ConfigError(f"algorithm.{setting}: no such setting of {config.path}{hint}")
    try:
        made = TypeAdapter(kind).validate_python(config.settings) if is_dataclass(kind) else kind(**config.settings)
    except ValidationError as error:
        raise ConfigError(explain_setting(error, name)) from None
    except Exception as error:  # noqa: BLE001  a user's class may raise anything
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


def explain_setting(error: ValidationError, name: str) -> str:
    """Explain the first mistake in an algorithm's settings in one line; `name` stands for all of them."""
    first = error.errors(include_url=False)[0]
    place, context = ".".join(["algorithm", *map(str, first["loc"])]), first.get("ctx", {})
    if first["type"] == "missing":
        return f"{place}: must be given"
    what = f"{place} = {format_value(first['input'])}" if first["loc"] else name
    if isinstance(own := context.get("error"), Exception):  # raised by the class itself
        return f"{what}: {own}"
    expected = name_expected(first) or context.get("expected")
    return f"{what}: must be {expected}" if expected else f"{what}: {first['msg']}"


def find_algorithm(path: str) -> Any:
    """Find the class of an algorithm at "package.module:Class". Raises `ConfigError`."""
    return find_class(path, "algorithm.name")


def list_parameters(kind: Any) -> list[str]:
    """Names of the constructor's parameters."""
    try:
        return list(inspect.signature(kind).parameters)
    except ValueError:  # some built-in classes have no signature
        return []


def list_whole_parameters(kind: Any) -> frozenset[str]:
    """Names of the constructor's parameters that are declared as `int`."""
    try:
        hints = get_type_hints(kind if is_dataclass(kind) else kind.__init__)
    except (NameError, TypeError):  # annotations that cannot be evaluated here
        return frozenset()
    return frozenset(name for name, hint in hints.items() if hint is int)


def is_dataclass(kind: Any) -> bool:
    """Whether a class is a dataclass, whose fields are its settings."""
    return hasattr(kind, "__dataclass_fields__")
