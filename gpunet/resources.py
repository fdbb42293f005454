"""Where the files that come with gpunet lie: beside the package in a checkout, inside it once installed."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder "configs" or "cuda": inside the installed package, else beside it in the checkout."""
    installed = _PACKAGE / f"_{name}"
    return installed if installed.is_dir() else _PACKAGE.parent / name


def config_names() -> list[str]:
    """The names of the shipped configs, in alphabetical order."""
    return sorted(path.stem for path in folder("configs").glob("*.toml"))


def config_path(name: str) -> Path:
    """Where the shipped config `name` lies."""
    return folder("configs") / f"{name}.toml"


def kernel_source(file: str) -> str:
    """The text of a file of kernels, like "pool.cu"."""
    return (folder("cuda") / file).read_text(encoding="utf-8")


def data_path(name: str) -> Path:
    """Where the bundled data file `name` lies, like "digits.npz"."""
    return _PACKAGE / "data" / name
