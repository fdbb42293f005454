"""Amounts of memory as people write and read them; 1 MiB = 2**20 bytes."""

import re

from gpunet.errors import ConfigError
from gpunet.values.given import told

UNITS = {
    "": 1,
    "b": 1,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
    "k": 2**10,
    "m": 2**20,
    "g": 2**30,
    "t": 2**40,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
}


def parse_bytes(text: str | int) -> int:
    """Bytes from "12GiB", "512 MiB", "12G" (2**30 each), "12GB" (10**9 each), or a plain number.

    Raises ConfigError for anything else, for less than one byte, and for a text of a small number without a unit.
    """
    if unit := forgotten_unit(text):
        raise ConfigError(f"{told(text)} alone would be so many bytes{unit}")
    match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)\s*", str(text))
    if not match or match[2].lower() not in UNITS:
        raise ConfigError(f"cannot read {told(text)} as an amount of memory; write it like 12GiB, 512MiB or 6GB")
    value = float(match[1]) * UNITS[match[2].lower()] if "." in match[1] else int(match[1]) * UNITS[match[2].lower()]
    if value < 1:
        raise ConfigError(f"an amount of memory must be at least one byte; got {told(text)}")
    return int(value)


def format_speed(per_second: float) -> str:
    """Images a second for people: 12,345, 87, 3.2, 0.041; never 0 of a net that is at work."""
    return f"{per_second:,.0f}" if per_second >= 9.95 else f"{per_second:.2g}"


def forgotten_unit(text: object) -> str:
    """'; 6GiB?' for a text like "6", '; 6000MiB?' for "6000": nobody means so few bytes. "" for all else."""
    number = text.strip() if isinstance(text, str) else ""
    plain = re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", number)
    unit = "GiB" if plain and float(number) < 1000 else "MiB"
    return f"; {number}{unit}?" if plain and float(number) > 0 else ""


def format_bytes(count: int) -> str:
    """Bytes for people: 5.42 GiB, 12.3 MiB, 512 B."""
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(count) >= size:
            return f"{count / size:.4g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count} B"
