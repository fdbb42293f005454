"""The headers of PBM, PGM and PPM files, whose comments have no end but that of their line.

Pillow reads such a comment byte by byte, so one of 100 MB takes minutes. Source: the pages pbm(5), pgm(5) and ppm(5).
"""

import re
from typing import BinaryIO

MOST_HEADER_BYTES = 4096
"""Programs write a comment of a line."""

_NUMBERS = {b"P1": 2, b"P4": 2}
"""Numbers in the header of each kind, width and height; the others also have the value of white."""

_COMMENT = re.compile(rb"#[^\r\n]*")


def has_long_header(file: BinaryIO) -> bool:
    """Whether the file begins as one of these and its numbers are not within the bytes that a header may have."""
    beginning = file.read(MOST_HEADER_BYTES)
    file.seek(0)
    if len(beginning) < MOST_HEADER_BYTES or not re.match(rb"P[1-7fFy]", beginning):
        return False
    return len(_COMMENT.sub(b" ", beginning[2:]).split()) <= _NUMBERS.get(beginning[:2], 3)
