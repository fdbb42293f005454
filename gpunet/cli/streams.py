"""Standard output and error that take every character: what a terminal cannot show is escaped, like \\u2192."""

import codecs
import sys
from io import TextIOWrapper

ESCAPING = "backslashreplace"
SEVEN_BITS = "ascii-escaped"
"""ASCII by a name of our own: a stream of plain ASCII typer takes for misconfigured, and writes UTF-8 to it."""


def escape_what_does_not_encode() -> None:
    """Have both streams escape characters that their encoding, such as cp1252, gbk or ASCII, does not have."""
    codecs.register(_seven_bits)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # closed ones are None, those of notebooks are none
            plain = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=SEVEN_BITS if plain else None, errors=ESCAPING)


def _seven_bits(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != SEVEN_BITS:
        return None
    ascii_codec = codecs.lookup("ascii")
    return codecs.CodecInfo(
        ascii_codec.encode,
        ascii_codec.decode,
        ascii_codec.streamreader,
        ascii_codec.streamwriter,
        ascii_codec.incrementalencoder,
        ascii_codec.incrementaldecoder,
        SEVEN_BITS,
    )
