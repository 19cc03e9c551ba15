"""Help and reference page of the settings."""

from fedqs_ray.config.schema import Schema, describe_type, walk_settings
from fedqs_ray.core.text import format_value


def format_default(setting: Schema) -> str:
    """Format the default as TOML, or 'unset'."""
    return "unset" if setting["default"] is None else format_value(setting["default"])


def list_once() -> list[tuple[Schema, str, Schema]]:
    """List section, dotted name and setting, each once where several sections share a kind."""
    found = {(section["title"], path): (section, path, setting) for section, path, setting in walk_settings()}
    return list(found.values())


def format_help() -> str:
    """Format all settings for `fedqs run --help`."""
    lines = ["settings (for --set and the configuration file):"]
    for section, path, setting in list_once():
        if path == "versions":
            continue
        if path.endswith(".name"):
            lines.append("")
        lines.append(f"  {path} = {format_default(setting)}   ({describe_type(setting)})")
        meaning = str(setting.get("description", section["description"]))
        lines.append(f"      {' '.join(meaning.split())}")
    return "\n".join(lines)


def format_reference() -> str:
    """Format docs/configuration.md."""
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
    current = ""
    for kind, path, setting in list_once():
        section, _, name = path.rpartition(".")
        if current != (current := f"{kind['title']} {section}"):
            title = f"[{section}]" if section else "top level"
            if "name" in kind["properties"]:
                title += f" with name = {describe_type(kind['properties']['name']).replace(' | ', ' or ')}"
            lines += ["", f"## {title}", "", " ".join(kind["description"].split()), ""]
            lines += ["| setting | type and bounds | default | meaning |", "|---|---|---|---|"]
        meaning = " ".join(setting.get("description", "Which kind this section is.").split()).replace("|", "\\|")
        shown = describe_type(setting).replace("|", "\\|")
        lines.append(f"| `{name}` | {shown} | `{format_default(setting)}` | {meaning} |")
    return "\n".join(lines) + "\n"
