"""The text of a .cu file as every compiler here gets it: NVRTC on a GPU, a C++ compiler in the emulator."""

import re
from functools import cache
from pathlib import Path

from gpunet.devices.outside import outside_source
from gpunet.errors import DeviceError

_PACKAGE = Path(__file__).parents[2]
_PLACES = (_PACKAGE.parent / "cuda", _PACKAGE / "_cuda")
"""Where the .cu files are: beside the package in a checkout, inside it once installed."""

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.MULTILINE)
"""How a file asks for a header of the same folder."""


@cache
def kernel_folder() -> Path:
    """The folder of the .cu files. Raises DeviceError where the installation is without them."""
    for place in _PLACES:
        if (place / "common.cuh").is_file():
            return place
    raise DeviceError(f"there are no kernels in {' or '.join(map(str, _PLACES))}; install gpunet again")


def kernel_files() -> list[str]:
    """The names, without .cu, of all files of kernels."""
    return sorted(path.stem for path in kernel_folder().glob("*.cu"))


def compose(file: str, folder: Path | None = None) -> str:
    """common.cuh and cuda/`file`.cu, or those of another folder, as one text; or what an op from outside has for it.

    In the place of #include "NAME.cuh" stands that header of the folder, where it is first asked for. Prepended and put
    in, as the caches of compiled kernels look at the text alone and would run stale code after an edit; with #line, so
    that a compiler's messages point into the files. Raises DeviceError for a header that there is not.
    """
    folder = folder or kernel_folder()
    text = outside_source(file)
    seen: set[str] = set()
    own = f"{file}.cu"
    common = _whole("common.cuh", _read(folder, "common.cuh"), folder, seen)
    return common + _whole(own, _read(folder, own) if text is None else text, folder, seen)


@cache
def takes_halves(file: str) -> bool:
    """Whether kernels of cuda/`file`.cu have pointers to volumes that may lie in halves: `stored*`, not `real*`."""
    return re.search(r"\bstored\s*\*", compose(file)) is not None


def _whole(name: str, text: str, folder: Path, seen: set[str]) -> str:
    """A text with the headers that it asks for; `seen`: those that stand in front of it already."""
    begun, parts = 0, [_line(1, name)]
    for found in _INCLUDE.finditer(text):
        parts.append(text[begun : found.start()])
        begun = found.end()
        header = found[1]
        if header not in seen:
            seen.add(header)
            parts.append(_whole(header, _read(folder, header, name), folder, seen))
        parts.append(_line(text.count("\n", 0, begun) + 1, name))
    return "".join([*parts, text[begun:], "\n"])


def _read(folder: Path, name: str, asked_by: str = "") -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        by = f', which {asked_by} asks for with #include "{name}"' if asked_by else ""
        raise DeviceError(f"there is no {name} in {folder}{by}") from error


def _line(number: int, name: str) -> str:
    return f'#line {number} "{name}"\n'
