"""The text of a .cu file as every compiler here gets it: NVRTC on a GPU, a C++ compiler in the emulator."""

from functools import cache
from pathlib import Path

from gpunet.devices.outside import outside_source
from gpunet.errors import DeviceError

_PACKAGE = Path(__file__).parents[2]
_PLACES = (_PACKAGE.parent / "cuda", _PACKAGE / "_cuda")
"""Where the .cu files are: beside the package in a checkout, inside it once installed."""


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

    Prepended and not included, because CuPy's cache looks at the text alone and would run stale code after an edit;
    with #line, so that a compiler's messages point into the files.
    """
    folder = folder or kernel_folder()
    text = outside_source(file)
    own = _with_line(folder / f"{file}.cu") if text is None else _numbered(f"{file}.cu", text)
    return _with_line(folder / "common.cuh") + own


def _with_line(path: Path) -> str:
    return _numbered(path.name, path.read_text(encoding="utf-8"))


def _numbered(name: str, text: str) -> str:
    return f'#line 1 "{name}"\n{text}\n'
