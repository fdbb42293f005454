"""Where the files that come with gpunet lie: beside the package in a checkout, inside it once installed."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def config_names() -> list[str]:
    """The names of the shipped configs, in alphabetical order."""
    return sorted(path.stem for path in _folder("configs").glob("*.toml"))


def config_path(name: str) -> Path:
    """Where the shipped config `name` lies, or would lie if there were one."""
    return _folder("configs") / f"{name}.toml"


def kernel_source(file: str) -> str:
    """The text of a CUDA source, `file` with its ending: "pool.cu"."""
    return (_folder("cuda") / file).read_text("utf-8")


def browser_text(name: str) -> str:
    """A file of the page that predicts in the browser."""
    return (_PACKAGE / "browser" / name).read_text("utf-8")


def browser_style(name: str) -> str:
    """The style sheet of a page of that name, with the colours that all pages share."""
    return browser_text("colours.css") + browser_text(name)


@cache
def browser_modules() -> dict[str, str]:
    """The modules that run in the browser, by name: "worker.js"; ops as "ops/pool.js"."""
    folder = _PACKAGE / "browser"
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.js"))}


def data_path(name: str) -> Path:
    """Where the bundled data file `name` lies."""
    return _PACKAGE / "data" / name


def _folder(name: str) -> Path:
    """cuda/ or configs/ of the checkout that this package stands in, else what the wheel carries of it.

    The checkout comes first, so that an edit is never hidden by the copy of an older installation.
    """
    beside = _PACKAGE.parent
    return beside / name if (beside / "pyproject.toml").is_file() else _PACKAGE / f"_{name}"
