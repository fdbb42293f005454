"""The files of the page, by name: its own, and those that it shares with the page that predicts."""

from functools import cache
from pathlib import Path

HERE = Path(__file__).parent / "page"
SHARED = ("colours.css", "drawing.js", "results.js")
"""Files of gpunet/browser."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _files() -> dict[str, Path]:
    own = {path.relative_to(HERE).as_posix(): path for path in HERE.rglob("*") if path.suffix in TYPES}
    browser = HERE.parents[1] / "browser"
    return own | {name: browser / name for name in SHARED}


def page_file(name: str) -> tuple[bytes, str] | None:
    """(its bytes, its media type); None where the page has no such file."""
    path = _files().get(name)
    return None if path is None else (path.read_bytes(), TYPES[path.suffix])
