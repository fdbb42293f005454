"""A real browser for pages of gpunet: Debian's chromium, driven by Playwright; what a page asks for and complains of is
kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

CHROMIUM = "GPUNET_CHROMIUM"
"""The variable that names another browser than the one on the PATH."""

WIDE, NARROW = (1280, 900), (390, 844)
"""Width and height of a window, of a desk and of a phone."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

CONTROLS = "button, input, select, textarea, canvas[tabindex]"

KEEP_TOUCHED = """(() => {
  const touched = window.touched = new WeakSet();
  const keep = ({ target }) => target instanceof Element && touched.add(target.closest("%s") ?? target);
  for (const kind of ["click", "input", "change", "keydown"]) document.addEventListener(kind, keep, true);
})()"""
"""Runs before a page's own scripts, and keeps what is clicked and filled from then on."""

UNTOUCHED = """(root) => [...document.querySelectorAll(root)].flatMap((one) => [...one.querySelectorAll("%s")])
  .filter((one) => !window.touched.has(one)).map((one) => one.id || one.name || one.textContent.trim())"""

CHECKED = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .flatMap(({ id, impact, nodes }) => nodes.map(({ html }) => `${impact} ${id}: ${html.slice(0, 200)}`))"""


HAND_OVER = """([kind, name, content]) => {
  const files = new DataTransfer();
  files.items.add(new File([new Uint8Array(content)], name, {type: "image/png"}));
  const event = kind === "drop" ? new DragEvent(kind, {dataTransfer: files, cancelable: true})
    : new ClipboardEvent(kind, {clipboardData: files});
  window.dispatchEvent(event);
}"""


@cache
def checker() -> str:
    """axe-core, the checker of accessibility, as text; it asks nobody for anything."""
    return (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")


def chromium() -> str | None:
    """The browser's program; None where there is none."""
    return os.environ.get(CHROMIUM) or shutil.which("chromium") or shutil.which("chromium-browser")


def why_no_browser() -> str:
    """Why there is no browser to test in, in words; "" where there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "Playwright is not installed; make test brings it"
    return "" if chromium() else "there is no chromium: apt-get install chromium"


@dataclass
class Watched:
    """A page, with what it logged as errors and what it asked for beside its own file."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def fits(self) -> bool:
        """Whether nothing stands out of the window to the right."""
        return bool(self.page.evaluate(OVERFLOW) <= 0)

    def complaints(self) -> list[str]:
        """What axe has to say against what is shown now: contrast, names, roles, order of headings."""
        self.page.evaluate(checker())
        found: list[str] = self.page.evaluate(CHECKED)
        return found

    def untouched(self, within: str = "body") -> list[str]:
        """The controls there that nobody has clicked, filled or chosen since the page was loaded."""
        found: list[str] = self.page.evaluate(UNTOUCHED % CONTROLS, within)
        return found

    def hand_over(self, kind: str, name: str, content: bytes) -> None:
        """Drop a file on the page ("drop"), or paste it there ("paste")."""
        self.page.evaluate(HAND_OVER, [kind, name, list(content)])


@contextmanager
def launched() -> Iterator[Any]:
    """The browser, to be closed behind the tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, place: Path | str, *, size: tuple[int, int] = WIDE, dark: bool = False, **options: Any
) -> Iterator[Watched]:
    """The page of a file, or at an address, in a window of that size. `options` are those of a Playwright context."""
    address = place if isinstance(place, str) else place.absolute().as_uri()
    window = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=window, color_scheme="dark" if dark else "light", **options)
    try:
        context.add_init_script(KEEP_TOUCHED % CONTROLS)
        watched = Watched(context.new_page())
        watched.page.on("console", lambda said: said.type in ("error", "warning") and watched.errors.append(said.text))
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on("request", lambda one: _is_outside(one.url, address) and watched.requests.append(one.url))
        watched.page.goto(address)
        yield watched
    finally:
        context.close()


def _is_outside(url: str, address: str) -> bool:
    """Whether it is more than the page itself and what it made by itself."""
    return url.partition("#")[0] != address and not url.startswith(("blob:", "data:"))
