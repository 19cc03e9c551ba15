"""A user's mistake in one line: the setting, the value, what is allowed."""

import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from fedqs_ray.config.base import Section
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.schema import find_sections, kind_names, known_paths, walk_settings
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import close_matches, format_value, join_names, make_printable, suggest_name

WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": 'text in "quotes"',
    "bool_type": "true or false",
    "model_type": "a table of settings",
    "model_attributes_type": "a table of settings",
    "dict_type": "a table",
    "tuple_type": "a list in [brackets]",
    "too_short": "a list of at least one",
}
"""What pydantic expected, in the words of the help."""


def explain_error(error: ValidationError) -> str:
    """The first mistake of a configuration."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), ConfigError):
        return str(cause)
    keys, owner, tag = locate(first["loc"])
    path, value = ".".join(map(written, keys)), first["input"]
    if first["type"] == "extra_forbidden":
        return f"{path}: no such setting{unknown(keys, owner, tag)}"
    if first["type"] == "union_tag_invalid":
        name, allowed = first["ctx"]["tag"], [tag.strip(" '") for tag in first["ctx"]["expected_tags"].split(",")]
        if path == "algorithm":  # whose kind "own" is for code; people name a class
            allowed[allowed.index("own")] = "module:Class of your own"
        hint = elsewhere(keys, name) or suggest_name(name, allowed)
        return f"{path}.name = {format_value(name)}: must be one of {', '.join(allowed)}{hint}"
    reasons = dict.fromkeys(reason(p) for p in problems if locate(p["loc"])[0] == keys)
    hint = advice(keys, owner, value) or (as_list(value) if first["type"] == "tuple_type" else "")
    return f"{path} = {format_value(value)}: must be {' or '.join(reasons)}{hint}"


def locate(loc: Sequence[int | str]) -> tuple[list[str], type[Section], str]:
    """The keys of a setting, its section's class and kind, from pydantic's location.

    Pydantic puts the kind's name after the key of a section that has kinds, and an arm after that of a union.
    """
    keys: list[str] = []
    owner: type[Section] = Experiment
    inside: type[Section] | None = Experiment
    tag = inner = ""
    parts = iter(loc)
    for part in parts:
        if isinstance(part, int):
            keys[-1] += f"[{part}]"
        elif inside is not None:
            keys.append(part)
            owner, tag = inside, inner
            field = owner.model_fields.get(part)
            kinds = find_sections(field.annotation) if field else []
            inner = str(next(parts, "")) if len(kinds) > 1 else ""
            inside = next((kind for kind in kinds if not inner or inner in kind_names(kind)), None)
    return keys, owner, tag


def unknown(keys: Sequence[str], owner: type[Section], tag: str) -> str:
    """What to say about a key that its section does not have: who has it, or which one may be meant."""
    *parents, key = keys
    section, path = ".".join(parents), ".".join(keys)
    where = f' for {section}.name = "{tag}"' if tag else ""
    if tag and (having := [n for kind, known, _ in walk_settings() if known == path for n in kind_names(kind)]):
        return f"{where}, only for {join_names(having)}"
    known = known_paths()
    siblings = [name for name in owner.model_fields if name != "versions"]
    found = (
        [name for name in known if key in (name, last(name))]
        or [".".join([*parents, name]) for name in close_matches(key, siblings)]
        or close_matches(path, known)
        or [name for name in known if last(name) in close_matches(key, map(last, known))]
    )
    return where + (f"; did you mean {join_names(found[:3])}?" if found else f"; known here: {', '.join(siblings)}")


def elsewhere(keys: Sequence[str], name: str) -> str:
    """Which kinds of the section above can hold a section of the kind `name`; "" if none can."""
    if len(keys) != 2:
        return ""
    section, key = keys
    owners = [kind for kind in find_sections(Experiment.model_fields[section].annotation) if key in kind.model_fields]
    having = [
        known
        for owner in owners
        if any(name in kind_names(kind) for kind in find_sections(owner.model_fields[key].annotation))
        for known in kind_names(owner)
    ]
    return f"; {name} is for {section}.name = {join_names(having)}" if having else ""


def reason(problem: Any) -> str:
    """What was expected."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    text: str = problem["msg"].removeprefix("Input should be ").replace("'", '"')
    return WORDS.get(problem["type"], text)


def advice(keys: Sequence[str], owner: type[Section], value: Any) -> str:
    """How to write what was probably meant: a section's kind, a ratio."""
    if isinstance(value, str):
        field = owner.model_fields.get(keys[-1])
        kinds = [name for kind in find_sections(field.annotation) for name in kind_names(kind)] if field else []
        if kinds:
            return suggest_name(value, kinds, f"{'.'.join(keys)}.name=")
        if ratio := re.match(r"1:(\d{1,12})(?=,|$)", value):
            return f"; write {ratio[1]} for {ratio[0]}"
    return ""


def as_list(value: object) -> str:
    """How to write a list that was given as one value, or as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    items = [item.strip(" '\"") for item in str(value).strip("[]").split(",")]
    listed = ", ".join(item if re.fullmatch(r"-?[\d.]+", item) else f'"{item}"' for item in items)
    return f"; write {make_printable(f'[{listed}]')}, in a shell in 'single quotes'"


def written(key: str) -> str:
    """A key as it stands in the file: in quotes unless it is a bare one."""
    return key if re.fullmatch(r"[\w-]{1,60}(\[\d+\])?", key) else f'"{make_printable(key)}"'


def last(path: str) -> str:
    """A setting without its section."""
    return path.rpartition(".")[2]
