"""The page of one run or several: one HTML file that contains its data, style and script and loads nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

PARTS = ("charts.js", "plots.js", "tables.js", "page.js")  # each uses those before it


def render_page(data: Mapping[str, Any]) -> str:
    """The HTML page for the result of `page_data`. Names are user input: they are embedded as JSON, and the script writes them
    as text, never as markup."""
    runs = data["runs"]
    title = (
        f"{runs[0]['study']} ({runs[0]['scale']}) on {runs[0]['data_name']}" if len(runs) == 1 else f"{len(runs)} runs"
    )
    parts = {
        "title": html.escape(title),
        "style": _asset("page.css"),
        "data": embedded(data),
        "script": "\n".join(_asset(name) for name in PARTS),
    }
    # in one pass, so that a placeholder inside a part is not replaced
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("page.html"))


def embedded(data: object) -> str:
    """JSON that is safe in a script element whatever its strings contain: it has no `<`, so no `</script>` and no `<!--`."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def _asset(name: str) -> str:
    return (files("expand.report") / "assets" / name).read_text(encoding="utf-8")
