"""Hooks of `mkdocs build` that add files outside of docs/ to which the pages link.

The sources link as the code-hosting site requires: ../benchmarks/results/scale.md, docs/concepts.md. README.md becomes
the first page; Markdown and pictures of the repository go into the site as they are, notebooks and other text as pages
that show them. MkDocs warns of broken links as usual.
"""

import json
import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
FENCED = re.compile(r"(^```.*?^```\n)", re.MULTILINE | re.DOTALL)
DRAWING = re.compile(r'<img alt="([^"]*)" src="(pictures/\w+\.svg)" />')
LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml"}
COPIED = {".md", ".png", ".svg"}
NO_SEARCH = "---\nsearch:\n  exclude: true\n---\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README.md, the pages beside it, and all files linked from them, recursively."""
    for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md"):
        add(files, config, ROOT / name)
    waiting = [source(file) for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for match in LINK.finditer(prose(page.read_text(encoding="utf-8"))) if page.suffix == ".md" else ():
            target = (page.parent / match[1]).resolve()
            for path in (target, *sorted(target.glob("*.md"))):  # a folder brings its pages along
                if path.exists() and files.get_file_from_path(place(path)) is None:
                    add(files, config, path)
                    waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Turn links of the repository into links of the site."""
    here = source(page.file)
    if here.suffix != ".md" or not here.exists():
        return markdown

    def moved(match: re.Match[str]) -> str:
        target = (here.parent / match[1]).resolve()
        return os.path.relpath(place(target), Path(page.file.src_uri).parent)

    parts = FENCED.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(moved, part) for part in parts)


def on_page_content(html: str, **_: object) -> str:
    """Inline drawings, so that they follow the page's light and dark mode."""

    def inline(match: re.Match[str]) -> str:
        drawing = (ROOT / "docs" / match[2]).read_text(encoding="utf-8")
        return f'<span class="drawing" role="img" aria-label="{match[1]}">{drawing}</span>'

    return DRAWING.sub(inline, html)


def add(files: Files, config: MkDocsConfig, path: Path) -> None:
    """Make a file or a folder of the repository part of the site."""
    name = path.relative_to(ROOT)
    if path.suffix in COPIED:
        shown = InclusionLevel.INCLUDED if path.parent == ROOT else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, place(path), abs_src_path=str(path), inclusion=shown))
        return
    if path.is_dir():
        inside = sorted(other.name for other in path.iterdir() if other.suffix in (".md", ".py"))
        text = "\n".join(f"- [{other}]({other})" if other.endswith(".md") else f"- {other}" for other in inside)
        content = f"# {name}\n\n{text}\n"
    elif path.suffix == ".ipynb":
        cells = [("".join(cell["source"]), cell["cell_type"]) for cell in json.loads(path.read_text("utf-8"))["cells"]]
        content = "\n\n".join(text if kind == "markdown" else fenced(text, "python") for text, kind in cells)
    else:
        content = f"# {name}\n\n{fenced(path.read_text('utf-8').rstrip(), LANGUAGES.get(path.suffix, 'text'))}\n"
    files.append(File.generated(config, place(path), content=NO_SEARCH + content, inclusion=InclusionLevel.NOT_IN_NAV))


def fenced(code: str, language: str) -> str:
    """A block of code."""
    return f"```{language}\n{code}\n```"


def prose(markdown: str) -> str:
    """A page without its code."""
    return FENCED.sub("", markdown)


def place(path: Path) -> str:
    """The path of a file of the repository among the site's sources."""
    if path == ROOT / "README.md":
        return "index.md"
    inside = path.is_relative_to(ROOT / "docs")
    name = str(path.relative_to(ROOT / "docs" if inside else ROOT))
    if path.is_dir():
        return f"{name}/index.md"
    return name if inside or path.suffix in COPIED else f"{name}.md"


def source(file: File) -> Path:
    """The path of a page in the repository; it need not exist for a page made from a file or folder."""
    return Path(file.abs_src_path) if file.abs_src_path else ROOT / file.src_uri.removesuffix(".md")
