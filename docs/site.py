"""What `make docs` adds to MkDocs: pages that lie outside docs/, links between them, pages of the Python API, and a check."""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")  # to a file; web addresses hold a colon


def on_config(config: Any) -> None:
    """The Python API in the navigation, before the last entry."""
    pages = [{"Overview": "api/index.md"}, *({title: _api_page(title)} for title in config.extra["api"])]
    config.nav.insert(-1, {"Python API": pages})


def on_files(files: Files, config: Any) -> None:
    """README and the like, and a page for each entry of `extra.api`."""
    for source, place in config.extra["pages"].items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text(encoding="utf-8")))
    overview = ["# Python API", "From the docstrings. Each page lists its public classes and functions first."]
    for title, modules in config.extra["api"].items():
        place = _api_page(title)
        content = "\n\n".join([f"# {title}", *(f"::: {module}" for module in modules)])
        files.append(File.generated(config, place, content=content))
        names = ", ".join(f"[`{module}`][{module}]" for module in modules)
        overview.append(f"- [{title}]({posixpath.basename(place)}): {names}")
    text = "\n\n".join(overview[:2]) + "\n\n" + "\n".join(overview[2:])
    files.append(File.generated(config, "api/index.md", content=text))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links of the repository as links of the site; what the site does not have keeps its text alone. A page without
    neighbours has no navigation beside it."""
    if page.parent is None:
        page.meta["hide"] = ["navigation"]
    places: dict[str, str] = config.extra["pages"]
    here = page.file.src_uri
    source = next((path for path, place in places.items() if place == here), f"docs/{here}")

    def linked(match: re.Match[str]) -> str:
        picture, text, link, anchor = match.groups()
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        place = places.get(target) or (target.removeprefix("docs/") if target.startswith("docs/") else None)
        if place is None:
            return text if (ROOT / target).exists() else match.group()
        return f"{picture}[{text}]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{anchor or ''})"

    return markdown if here.startswith("api/") else LINK.sub(linked, markdown)


def on_post_build(config: Any) -> None:
    """Nothing that a page loads may come from a network.

    Raises:
        PluginError: a page names an address to load something from.
    """
    for path in sorted(Path(config.site_dir).rglob("*.html")):
        loads = Loads()
        loads.feed(path.read_text(encoding="utf-8"))
        if loads.found:
            raise PluginError(f"{path.relative_to(config.site_dir)} loads {loads.found[0]} from a network")


class Loads(HTMLParser):
    """Collects what a page loads by itself from elsewhere: scripts, styles, pictures, frames; not what a reader may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        loaded = [
            value
            for name, value in attrs
            if name in ("src", "srcset", "data", "poster") or (tag, name) == ("link", "href")
        ]
        self.found += [value for value in loaded if value and re.match(r"(https?:)?//", value)]


def _api_page(title: str) -> str:
    return f"api/{title.lower().replace(' ', '_')}.md"
