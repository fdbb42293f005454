"""gpunet trains ConvNets with its own CUDA kernels, in memory that it planned to the byte before the run.

The public names stand in __init__.pyi, a line each. Each is imported when it is first asked for: planning needs no
NumPy, and the program can hear Ctrl-C at once.
"""


def _read_names() -> dict[str, str]:
    """The module of each public name, from the lines "from MODULE import NAME as NAME" of the stub."""
    with open(f"{__path__[0]}/__init__.pyi", encoding="utf-8") as stub:
        words = [line.split() for line in stub if line.startswith("from ")]
    return {line[3]: line[1] for line in words}


_MODULES = _read_names()
"""Where each name is; no module beside this file may have the name of one of them."""

__all__ = sorted(_MODULES.keys() - {"__version__"})


def look(value: object) -> object:
    """How a value that can be looked at looks, for `gpunet.values.shown`; see gpunet.report.looks."""
    from gpunet.report import looks

    return looks.look(value)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module 'gpunet' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
