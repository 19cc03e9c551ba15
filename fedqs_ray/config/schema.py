"""The tree of settings, walked for errors, help and the reference page."""

import typing
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any

from pydantic.fields import FieldInfo

from fedqs_ray.config.base import Section
from fedqs_ray.config.experiment import Experiment

SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def find_sections(annotation: Any) -> list[type[Section]]:
    """The kinds of section that a field can hold; none for a plain setting."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [kind for arm in arms(annotation) for kind in find_sections(arm)]


def arms(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; none for anything else."""
    union = typing.get_origin(annotation) in (typing.Union, UnionType)
    return typing.get_args(annotation) if union else ()


def walk_settings(kind: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[type[Section], str, FieldInfo]]:
    """Every setting, depth first: the section's class, the dotted name, the field."""
    for name, field in kind.model_fields.items():
        if inner := find_sections(field.annotation):
            for arm in inner:
                yield from walk_settings(arm, f"{prefix}{name}.")
        else:
            yield kind, f"{prefix}{name}", field


def kind_names(kind: type[Section]) -> tuple[str, ...]:
    """The values that `name` may have in this kind of section; none where it has no name."""
    field = kind.model_fields.get("name")
    return typing.get_args(field.annotation) if field else ()


def known_paths() -> list[str]:
    """Dotted names of all settings, each once."""
    return list(dict.fromkeys(path for _, path, _ in walk_settings()))


def is_optional(path: str) -> bool:
    """Whether a setting may be left unset."""
    return any(path == known and NoneType in arms(field.annotation) for _, known, field in walk_settings())


def is_whole(path: str) -> bool:
    """Whether a setting takes whole numbers and no other ones."""
    fields = [field for _, known, field in walk_settings() if known == path]
    kinds = [arm for field in fields for arm in arms(field.annotation) or [field.annotation]]
    plain = {typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind for kind in kinds}
    return int in plain and float not in plain


def describe_type(field: FieldInfo) -> str:
    """'int, >= 1', '"auto" | int', 'list of text'."""
    texts = [describe(arm) for arm in arms(field.annotation) or [field.annotation]]
    return ", ".join([" | ".join(texts), *bounds(field.metadata)])


def describe(annotation: Any) -> str:
    """One type, with its bounds if it carries them."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return ", ".join([describe(parts[0]), *bounds(m for part in parts[1:] for m in getattr(part, "metadata", ()))])
    if origin is typing.Literal:
        return " | ".join(f'"{value}"' for value in parts)
    if origin is tuple:
        return f"list of {describe(parts[0])}"
    names = {NoneType: "unset", str: "text", bool: "true | false"}
    return names.get(annotation) or str(annotation.__name__)


def bounds(metadata: typing.Iterable[Any]) -> list[str]:
    """'>= 1', '<= 1e6'."""
    found = [f"{sign} {getattr(m, key):g}" for m in metadata for key, sign in SIGNS.items() if hasattr(m, key)]
    return [bound.replace("e+0", "e").replace("e-0", "e-") for bound in found]
