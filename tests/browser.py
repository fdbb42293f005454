"""A real browser for pages of gpunet: Debian's chromium, driven by Playwright; what a page asks for and complains of is
kept."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHROMIUM = "GPUNET_CHROMIUM"
"""The variable that names another browser than the one on the PATH."""

WIDE, NARROW = (1280, 900), (390, 844)
"""Width and height of a window, of a desk and of a phone."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

PLAIN = """() => [...document.querySelectorAll('button, input, canvas[tabindex], img, [role]')]
  .filter((one) => one.offsetParent !== null)
  .filter((one) => !(one.getAttribute('aria-label') || one.textContent.trim() || one.alt || one.labels?.length))
  .map((one) => one.outerHTML)"""
"""What can be seen and has no name for a screen reader."""


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

    def nameless(self) -> list[str]:
        """Controls and pictures without a name for those who cannot see them."""
        found: list[str] = self.page.evaluate(PLAIN)
        return found


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
