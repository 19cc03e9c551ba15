"""The documentation as a site: builds without a warning, all links lead somewhere, and it needs no network."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import fedqs_ray

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.xdist_group("site")
PAGES = sorted(path.name for path in (ROOT / "docs").glob("*.md"))


class Page(HTMLParser):
    """What a built page links to, loads, offers as anchors, and says in its paragraphs."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given["id"]} if "id" in given else set()
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.loads += [given[name] for name in ("src", "srcset", "data") if name in given]
        if tag == "link" and given.get("rel") != "canonical":
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page of the site, by its file; without the one that a web server shows for what is not there."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: Page(path) for path in sorted(folder.rglob("*.html")) if path.name != "404.html"}


def named(site: dict[Path, Page], name: str) -> Page:
    """The page of that name that lies highest."""
    return site[min((path for path in site if path.name == name), key=lambda path: len(path.parts))]


def test_every_page_is_there_and_in_the_navigation(site: dict[Path, Page]) -> None:
    first = named(site, "index.html")
    assert len(PAGES) > 10
    for name in PAGES:
        assert name.replace(".md", ".html") in first.links, name


def test_every_link_leads_somewhere(site: dict[Path, Page]) -> None:
    assert sum(len(page.links) for page in site.values()) > 500
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "http"), f"{path.name}: {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.exists(), f"{path.name}: {link}"
            if parts.fragment and target in site:
                assert unquote(parts.fragment) in site[target].anchors, f"{path.name}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        for load in page.loads:
            assert not urlsplit(load).netloc, f"{path.name}: {load}"
            if not load.startswith("data:"):
                assert (path.parent / urlsplit(load).path).exists(), f"{path.name}: {load}"
    for sheet in next(iter(site)).parent.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", text), sheet.name


def test_markdown_means_the_same_here_as_where_the_code_is_hosted(site: dict[Path, Page]) -> None:
    """Lists and tables that need a blank line before them, fences that were not closed."""
    for path, page in site.items():
        for paragraph in re.findall(r"<p>(.*?)</p>", page.text, re.DOTALL):
            prose = re.sub(r"<code>.*?</code>", "", paragraph, flags=re.DOTALL)
            assert not re.search(r"^\s*([-*|]|\d+\.)\s|```|:::|\]\(", prose, re.MULTILINE), (
                f"{path.name}: {prose[:200]}"
            )


def test_the_drawing_is_part_of_its_page(site: dict[Path, Page]) -> None:
    concepts = named(site, "concepts.html")
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="loop"' in concepts.text
    assert '[data-md-color-scheme="slate"] svg.loop' in concepts.text


def test_all_public_names_are_explained(site: dict[Path, Page]) -> None:
    reference = named(site, "api.html")
    for name in fedqs_ray.__all__:
        explained = {f"fedqs_ray.{name}"} | {one for one in reference.anchors if one.endswith(f".{name}")}
        assert explained & reference.anchors, name


def test_links_work_where_the_code_is_hosted() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
