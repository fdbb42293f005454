"""Kernels as machine code: compiled once for a GPU's architecture, then kept in the user's cache folder.

A file there is whole or not there, whoever writes it at the same time; one that is damaged is compiled again.
"""

from hashlib import sha256
from pathlib import Path

from gpunet.devices.cuda.nvrtc import Capability, Nvrtc, compile_options
from gpunet.devices.cuda.source import compose
from gpunet.errors import DataError
from gpunet.system import cache

__all__: tuple[str, ...] = ()  # no ops here

FOLDER = "kernels"

DIGEST_BYTES = 32
"""What a file begins with: the SHA-256 of the rest."""


def compiled(nvrtc: Nvrtc, file: str, real: str, capability: Capability) -> bytes:
    """The code of cuda/`file`.cu for volumes of `real`, a type of TYPES, on a GPU. Raises CompileError with the log.

    Where the cache folder cannot be written it is compiled all the same, and a message says so once.
    """
    source, options = compose(file), compile_options(real, nvrtc.architecture(capability))
    name = _name(nvrtc, source, options, f"{file}-{real}")
    code = _kept(cache.folder() / name)
    if code is None:
        code, _ = nvrtc.compile(source, f"{file}.cu", options)
        _keep(name, code)
    return code


def _name(nvrtc: Nvrtc, source: str, options: tuple[str, ...], what: str) -> str:
    """The file of the cache: another one for any other text, option or NVRTC; its size tells those of one version."""
    made_by = (nvrtc.version, nvrtc.path.stat().st_size, options, source)
    return f"{FOLDER}/{what}-{sha256(repr(made_by).encode()).hexdigest()[:24]}"


def _kept(path: Path) -> bytes | None:
    """The code in a file; None where there is no file, or none that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    code = content[DIGEST_BYTES:]
    return code if code and sha256(code).digest() == content[:DIGEST_BYTES] else None


def _keep(name: str, code: bytes) -> None:
    try:
        cache.put_file(name, sha256(code).digest() + code)
    except DataError as error:
        variable = cache.FOLDER_VARIABLE
        cache.tell_once(
            f"kernels are compiled anew at each start, as they cannot be kept ({error}); set {variable} to a folder "
            "that can be written"
        )
