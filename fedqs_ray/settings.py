"""Settings in and out: TOML files, overrides, one-line errors, help and the reference page."""

import difflib
import tomllib
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from fedqs_ray.config import Experiment, Section, SettingError


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment of a TOML file (or the defaults) with `section.key=value` overrides on top.

    Raises `SettingError` with one line that names the setting, the value and what is allowed.
    """
    data = read(Path(path)) if path is not None else {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"--set {override}: must look like section.key=value")
        assign(data, key.strip().split("."), parse(text.strip()), override)
    return check(data)


def read(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not a TOML file: {error}") from None


def parse(text: str) -> Any:
    """A value as TOML reads it (30, 0.1, true, [1, 2]); a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def assign(data: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    """Set data[k1][k2].. = value, making tables on the way."""
    for key in keys[:-1]:
        data = data.setdefault(key, {})
        if not isinstance(data, dict):
            raise SettingError(f"--set {override}: {key} is a setting, not a section")
    data[keys[-1]] = value


def variant(base: Experiment, *, algorithm: str, scenario: str, seed: int, out: str) -> Experiment:
    """`base` with another algorithm, scenario and seed. Settings given in `base` that the new kinds also have stay."""
    data = base.model_dump(exclude_unset=True)
    for section, name in (("algorithm", algorithm), ("scenario", scenario)):
        own = getattr(base, section)
        given = own.model_dump(exclude_unset=True) if section in base.model_fields_set else {}
        kinds = sections(Experiment.model_fields[section].annotation)
        known = next((kind.model_fields for kind in kinds if name in kind_names(kind)), {})
        data[section] = {key: value for key, value in given.items() if key in known} | {"name": name}
    data["run"] = data.get("run", {}) | {"out": out}
    return check(data | {"seed": seed})


def difference(one: Experiment, other: Experiment) -> str | None:
    """The first setting that tells two experiments apart, as "path (a, not b)".

    Where results are written and on how many actors makes no difference to them.
    """
    placement: Any = {
        "run": {"out", "address", "checkpoint_every"},
        "clients": {"actors", "clients_per_actor"},
        "versions": True,
    }
    first, second = (flat(e.model_dump(mode="json", exclude=placement)) for e in (one, other))
    for key in first | second:
        if first.get(key) != second.get(key):
            return f"{key} ({show(first.get(key))}, not {show(second.get(key))})"
    return None


def flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted names."""
    found: dict[str, Any] = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def check(data: dict[str, Any]) -> Experiment:
    """Validate a configuration tree, or say in one line what is wrong with it."""
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise SettingError(explain(error, data)) from None


def explain(error: ValidationError, data: dict[str, Any]) -> str:
    """The first mistake in one line."""
    problems = error.errors(include_url=False)
    first = problems[0]
    if isinstance(cause := first.get("ctx", {}).get("error"), SettingError):
        return str(cause)
    path = setting_path(first["loc"], data)
    if first["type"] == "union_tag_invalid":
        path, value = f"{path}.name", first["ctx"]["tag"]
        allowed = [tag.strip(" '") for tag in first["ctx"]["expected_tags"].split(",")]
        return f"{path} = {show(value)}: must be one of {', '.join(allowed)}{nearest(value, allowed)}"
    if first["type"] == "extra_forbidden":
        section, _, key = path.rpartition(".")
        name = first["loc"][-2] if section and str(first["loc"][-2]) != section.rpartition(".")[2] else None
        names = [
            setting.rpartition(".")[2]
            for kind, setting, _ in walk()
            if setting.rpartition(".")[0] == section and (name is None or name in kind_names(kind))
        ]
        where = f' for {section}.name = "{name}"' if name else ""
        hint = nearest(key, names, f"{section}." if section else "")
        if not hint and path not in known_paths():
            hint = nearest(path, list(known_paths()))
        return f"{path}: no such setting{where}{hint or '; known here: ' + ', '.join(names)}"
    reasons = dict.fromkeys(reason(p) for p in problems if setting_path(p["loc"], data) == path)
    return f"{path} = {show(first['input'])}: must be {' or '.join(reasons)}"


def reason(problem: Any) -> str:
    """What pydantic expected, in the words of the help."""
    words = {
        "int_type": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "string_type": 'text in "quotes"',
        "bool_type": "true or false",
        "model_type": "a table of settings",
        "dict_type": "a table",
    }
    kind = "model_type" if problem["type"].startswith("model_") else problem["type"]
    text: str = words.get(kind) or problem["msg"].removeprefix("Input should be ").replace("'", '"')
    return text


def setting_path(loc: tuple[int | str, ...], data: Any) -> str:
    """Pydantic's location without the tags that it inserts for the members of a union."""
    path: list[str] = []
    for part in loc:
        if isinstance(data, dict) and part in data:
            path.append(str(part))
            data = data[part]
    return ".".join(path)


def show(value: object) -> str:
    """A value as the user would write it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(word: object, names: Sequence[str], prefix: str = "") -> str:
    """'; did you mean X?' where X is close enough, else nothing."""
    close = difflib.get_close_matches(str(word), list(names), n=1, cutoff=0.6)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


# The tree of settings, walked for help, the reference page and the nearest name


def sections(annotation: Any) -> list[type[Section]]:
    """The kinds of section that a field can hold; none for a plain setting."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        return [kind for arm in typing.get_args(annotation) for kind in sections(arm)]
    return []


def walk(kind: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[type[Section], str, FieldInfo]]:
    """Every setting, depth first: the section's class, the dotted name, the field."""
    for name, field in kind.model_fields.items():
        if inner := sections(field.annotation):
            for arm in inner:
                yield from walk(arm, f"{prefix}{name}.")
        else:
            yield kind, f"{prefix}{name}", field


def kind_names(kind: type[Section]) -> tuple[str, ...]:
    """The values that `name` may have in this kind of section; none where it has no name."""
    field = kind.model_fields.get("name")
    return typing.get_args(field.annotation) if field else ()


def known_paths() -> Iterator[str]:
    """Dotted names of all settings."""
    return (path for _, path, _ in walk())


def describe_type(field: FieldInfo) -> str:
    """'int >= 1', '"auto" or int', 'fedavg | fedsgd'."""

    def one(annotation: Any) -> str:
        if annotation is NoneType:
            return "unset"
        if typing.get_origin(annotation) is typing.Literal:
            return " | ".join(f'"{value}"' for value in typing.get_args(annotation))
        name: str = annotation.__name__
        return {"str": "text", "bool": "true | false"}.get(name, name)

    union = typing.get_origin(field.annotation) in (typing.Union, UnionType)
    arms = typing.get_args(field.annotation) if union else ()
    text = " | ".join(one(arm) for arm in arms) if arms else one(field.annotation)
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{s} {getattr(m, k)}" for m in field.metadata for k, s in signs.items() if hasattr(m, k)]
    return ", ".join([text, *bounds])


def default_text(field: FieldInfo) -> str:
    """The default as TOML, or 'unset'."""
    return "unset" if field.default is None else show(field.default)


def help_text() -> str:
    """All settings, for `fedqs run --help`."""
    lines = ["settings (for --set and the configuration file):"]
    seen: set[tuple[type[Section], str]] = set()
    for kind, path, field in walk():
        if path == "versions" or (kind, path) in seen:
            continue
        seen.add((kind, path))
        if "name" in kind.model_fields and path.rpartition(".")[2] == "name":
            lines.append("")
        lines.append(f"  {path} = {default_text(field)}   ({describe_type(field)})")
        text = field.description or (kind.__doc__ or "")
        lines.append(f"      {' '.join(text.split())}")
    return "\n".join(lines)


def reference() -> str:
    """docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "<!-- Written by `fedqs settings`; a test keeps it current. -->",
        "",
        "An experiment is a TOML file, overrides on the command line, or an `Experiment` in Python:",
        "",
        "```toml",
        "[algorithm]",
        'name = "fedqs-avg"',
        "",
        "[training]",
        "lr = 0.05",
        "```",
        "",
        "```bash",
        "fedqs run --set algorithm.name=fedqs-avg --set training.lr=0.05",
        "```",
        "",
        "Every setting has a default that runs; an unknown key is an error that names the nearest known one.",
        "A section with a `name` holds the settings of that kind only.",
    ]
    seen: set[tuple[type[Section], str]] = set()
    current = ""
    for kind, path, field in walk():
        section = path.rpartition(".")[0]
        if (kind, path) in seen:
            continue
        seen.add((kind, path))
        if current != (current := f"{kind.__name__} {section}"):
            title = f"[{section}]" if section else "top level"
            if "name" in kind.model_fields:
                title += f" with name = {describe_type(kind.model_fields['name']).replace(' | ', ' or ')}"
            lines += ["", f"## {title}", "", " ".join((kind.__doc__ or "").split()), ""]
            lines += ["| setting | type and bounds | default | meaning |", "|---|---|---|---|"]
        meaning = " ".join((field.description or "Which kind this section is.").split()).replace("|", "\\|")
        shown = describe_type(field).replace("|", "\\|")
        lines.append(f"| `{path.rpartition('.')[2]}` | {shown} | `{default_text(field)}` | {meaning} |")
    return "\n".join(lines) + "\n"
