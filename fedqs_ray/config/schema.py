"""The tree of settings as JSON schema, for errors, help and the reference page."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from fedqs_ray.config.experiment import Experiment

Schema = dict[str, Any]
"""JSON schema of a section or a setting, as pydantic writes it."""

SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
TYPES = {
    "integer": "int",
    "number": "float",
    "string": "text",
    "boolean": "true | false",
    "object": "dict",
    "null": "unset",
}
"""JSON's types in the words of the help."""


@cache
def read_schema() -> Schema:
    """The schema of a whole experiment."""
    return Experiment.model_json_schema()


def find_sections(setting: Schema) -> list[Schema]:
    """The kinds of section that a setting can hold; none for a plain setting."""
    links = [arm["$ref"] for arm in setting.get("oneOf", [setting]) if "$ref" in arm]
    return [read_schema()["$defs"][link.rpartition("/")[2]] for link in links]


def walk_settings(section: Schema | None = None, prefix: str = "") -> Iterator[tuple[Schema, str, Schema]]:
    """Every setting, depth first: its section, its dotted name, itself."""
    section = section or read_schema()
    for name, setting in section["properties"].items():
        if kinds := find_sections(setting):
            for kind in kinds:
                yield from walk_settings(kind, f"{prefix}{name}.")
        else:
            yield section, f"{prefix}{name}", setting


def list_kind_names(section: Schema) -> list[str]:
    """The values that `name` may have in this kind of section; none where it has no name."""
    return list_values(section["properties"].get("name", {}))


def list_values(setting: Schema) -> list[Any]:
    """The values that a setting may have where they are listed, in its order."""
    return [value for arm in list_arms(setting) for value in arm.get("enum", [arm["const"]] if "const" in arm else [])]


def list_arms(setting: Schema) -> list[Schema]:
    """The alternatives of a setting; one where it has a single type."""
    found: list[Schema] = setting.get("anyOf", [setting])
    return found


def list_paths() -> list[str]:
    """Dotted names of all settings, each once."""
    return list(dict.fromkeys(path for _, path, _ in walk_settings()))


def list_types(path: str) -> set[str]:
    """JSON's types that a setting may have, in any kind of its section."""
    return {arm.get("type", "") for _, known, setting in walk_settings() if known == path for arm in list_arms(setting)}


def is_optional(path: str) -> bool:
    """Whether a setting may be left unset."""
    return "null" in list_types(path)


def is_whole(path: str) -> bool:
    """Whether a setting takes whole numbers and no other ones."""
    types = list_types(path)
    return "integer" in types and "number" not in types


def describe_type(setting: Schema) -> str:
    """'int, >= 1', 'int, >= 1 | "auto"', 'list of text'."""
    return " | ".join(map(describe_arm, list_arms(setting)))


def describe_arm(arm: Schema) -> str:
    """One type with its bounds, or the values that are allowed."""
    if values := list_values(arm):
        return " | ".join(f'"{value}"' for value in values)
    if arm["type"] == "array":
        return f"list of {describe_arm(arm['items'])}"
    bounds = [f"{sign} {format_bound(arm[name])}" for name, sign in SIGNS.items() if name in arm]
    return ", ".join([TYPES[arm["type"]], *bounds])


def format_bound(value: float) -> str:
    """Format a bound briefly: '1e6', '0.05'."""
    return f"{value:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
