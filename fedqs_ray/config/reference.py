"""What the settings say about themselves: the help and the reference page."""

from pydantic.fields import FieldInfo

from fedqs_ray.config.base import Section
from fedqs_ray.config.schema import describe_type, walk_settings
from fedqs_ray.core.text import format_value


def default_text(field: FieldInfo) -> str:
    """The default as TOML, or 'unset'."""
    return "unset" if field.default is None else format_value(field.default)


def format_help() -> str:
    """All settings, for `fedqs run --help`."""
    lines = ["settings (for --set and the configuration file):"]
    seen: set[tuple[type[Section], str]] = set()
    for kind, path, field in walk_settings():
        if path == "versions" or (kind, path) in seen:
            continue
        seen.add((kind, path))
        if "name" in kind.model_fields and path.rpartition(".")[2] == "name":
            lines.append("")
        lines.append(f"  {path} = {default_text(field)}   ({describe_type(field)})")
        text = field.description or (kind.__doc__ or "")
        lines.append(f"      {' '.join(text.split())}")
    return "\n".join(lines)


def format_reference() -> str:
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
        "Of several `--set` of one key the last counts, and `--set KEY=none` unsets a setting that may be unset.",
        "A section with a `name` holds the settings of that kind only.",
    ]
    seen: set[tuple[type[Section], str]] = set()
    current = ""
    for kind, path, field in walk_settings():
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
