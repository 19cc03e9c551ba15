"""A user's mistake in one line: the setting, the value, what is allowed.

Texts are made from pydantic's error types, their context and the schema of the setting, never from pydantic's messages.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fedqs_ray.config.schema import (
    Schema,
    describe_type,
    find_sections,
    list_kind_names,
    list_paths,
    list_values,
    read_schema,
    walk_settings,
)
from fedqs_ray.core.exceptions import ConfigError
from fedqs_ray.core.text import find_close_matches, format_value, join_names, make_printable, suggest_name

RENAMED = {"training.cohort": "training.clients_per_step"}
"""Settings of earlier versions, and their names now."""

TYPES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "string_type": 'text in "quotes"',
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "model_type": "a table of settings",
    "model_attributes_type": "a table of settings",
    "dict_type": "a table",
    "list_type": "a list in [brackets]",
    "tuple_type": "a list in [brackets]",
    "too_short": "a list of at least one",
}
"""The expectation behind each of pydantic's error types, in the words of the help."""

COMPARISONS = {
    "gt": "greater than",
    "ge": "greater than or equal to",
    "lt": "less than",
    "le": "less than or equal to",
}
"""Bounds by their name in the context of pydantic's errors."""


def explain_error(error: ValidationError) -> str:
    """The first mistake of a configuration."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), ConfigError):
        return str(cause)
    keys, owner, tag = locate(first["loc"])
    path, value = ".".join(map(quote_key, keys)), first["input"]
    if first["type"] == "extra_forbidden":
        if path in RENAMED:
            return f"{path}: is called {RENAMED[path]} now"
        return f"{path}: no such setting{describe_unknown(keys, owner, tag)}"
    setting: Schema = owner["properties"].get(strip_place(keys[-1]), {})
    if first["type"] == "union_tag_invalid":
        name, allowed = first["ctx"]["tag"], [name for kind in find_sections(setting) for name in list_kind_names(kind)]
        if path == "algorithm":  # "own" is the name in the long form; users name a class
            allowed[allowed.index("own")] = "module:Class of your own"
        hint = find_elsewhere(keys, name) or suggest_name(name, allowed)
        return f"{path}.name = {format_value(name)}: must be one of {', '.join(allowed)}{hint}"
    reasons = [state_expected(p, setting) for p in problems if locate(p["loc"])[0] == keys]
    hint = advise(keys, setting, value) or (show_list(value) if first["type"] == "tuple_type" else "")
    return f"{path} = {format_value(value)}: must be {' or '.join(dict.fromkeys(reasons))}{hint}"


def state_expected(problem: ErrorDetails, setting: Schema) -> str:
    """What a setting of this schema must be."""
    if problem["type"] == "value_error":
        return str(problem["ctx"]["error"])
    if problem["type"] == "literal_error":
        return join_names([format_value(value) for value in list_values(setting)])
    return name_expected(problem) or describe_type(setting)


def name_expected(problem: ErrorDetails) -> str | None:
    """The type or the bound that a value missed; None for errors of other kinds."""
    context = problem.get("ctx", {})
    for key, words in COMPARISONS.items():
        if key in context:
            return f"{words} {Decimal(str(context[key])).normalize():f}"
    return TYPES.get(problem["type"])


def locate(loc: Sequence[int | str]) -> tuple[list[str], Schema, str]:
    """The keys of a setting, its section's schema and kind, from pydantic's location.

    Pydantic puts the kind's name after the key of a section that has kinds, and an arm after that of a union.
    """
    keys: list[str] = []
    owner: Schema = read_schema()
    inside: Schema | None = owner
    tag = inner = ""
    parts = iter(loc)
    for part in parts:
        if isinstance(part, int):
            keys[-1] += f"[{part}]"
        elif inside is not None:
            keys.append(part)
            owner, tag = inside, inner
            kinds = find_sections(owner["properties"].get(part, {}))
            inner = str(next(parts, "")) if len(kinds) > 1 else ""
            inside = next((kind for kind in kinds if not inner or inner in list_kind_names(kind)), None)
    return keys, owner, tag


def describe_unknown(keys: Sequence[str], owner: Schema, tag: str) -> str:
    """The end of the message about an unknown key: the kinds that have it, or the setting that may be meant."""
    *parents, key = keys
    section, path = ".".join(parents), ".".join(keys)
    where = f' for {section}.name = "{tag}"' if tag else ""
    if tag and (having := [n for kind, known, _ in walk_settings() if known == path for n in list_kind_names(kind)]):
        return f"{where}, only for {join_names(having)}"
    known = list_paths()
    siblings = [name for name in owner["properties"] if name != "versions"]
    found = (
        [name for name in known if key in (name, strip_section(name))]
        or [".".join([*parents, name]) for name in find_close_matches(key, siblings)]
        or find_close_matches(path, known)
        or [name for name in known if strip_section(name) in find_close_matches(key, map(strip_section, known))]
    )
    return where + (f"; did you mean {join_names(found[:3])}?" if found else f"; known here: {', '.join(siblings)}")


def find_elsewhere(keys: Sequence[str], name: str) -> str:
    """The kinds of the section above that can hold a section of the kind `name`; "" if none can."""
    if len(keys) != 2:
        return ""
    section, key = keys
    owners = [kind for kind in find_sections(read_schema()["properties"][section]) if key in kind["properties"]]
    having = [
        known
        for owner in owners
        if any(name in list_kind_names(kind) for kind in find_sections(owner["properties"][key]))
        for known in list_kind_names(owner)
    ]
    return f"; {name} is for {section}.name = {join_names(having)}" if having else ""


def advise(keys: Sequence[str], setting: Schema, value: Any) -> str:
    """How to write what was probably meant: a section's kind, a ratio."""
    if isinstance(value, str):
        if kinds := [name for kind in find_sections(setting) for name in list_kind_names(kind)]:
            return suggest_name(value, kinds, f"{'.'.join(keys)}.name=")
        if ratio := re.match(r"1:(\d{1,12})(?=,|$)", value):
            return f"; write {ratio[1]} for {ratio[0]}"
    return ""


def show_list(value: object) -> str:
    """How to write a list that was given as one value, or as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    items = [item.strip(" '\"") for item in str(value).strip("[]").split(",")]
    listed = ", ".join(item if re.fullmatch(r"-?[\d.]+", item) else f'"{item}"' for item in items)
    return f"; write {make_printable(f'[{listed}]')}, in a shell in 'single quotes'"


def quote_key(key: str) -> str:
    """A key as it stands in the file: in quotes unless it is a bare one."""
    return key if re.fullmatch(r"[\w-]{1,60}(\[\d+\])?", key) else f'"{make_printable(key)}"'


def strip_place(key: str) -> str:
    """A setting's key without the place in its list: ratios[1] is in ratios."""
    return key.partition("[")[0]


def strip_section(path: str) -> str:
    """A setting without its section."""
    return path.rpartition(".")[2]
