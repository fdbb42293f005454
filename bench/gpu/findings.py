"""What a section has found so far, on disk after every change: a section that crashes or hangs loses nothing."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Findings:
    """Values by name, with what failed and what was left out, each as a sentence for people.

    `path`  where it is written after every change; None: nowhere
    """

    path: Path | None = None
    values: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def note(self, name: str, value: Any) -> None:
        """Keep one value."""
        self.values[name] = value
        self._write()

    def append(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to the list called `name`."""
        self.values.setdefault(name, []).append(row)
        self._write()

    def fail(self, message: str) -> None:
        """Something is not as it must be: the run will end with exit code 1."""
        self.failures.append(message)
        self._write()

    def require(self, holds: bool, message: str) -> None:
        """Fail with the message unless it holds."""
        if not holds:
            self.fail(message)

    def skip(self, message: str) -> None:
        """Something was left out, and why."""
        self.skipped.append(message)
        self._write()

    def as_dict(self) -> dict[str, Any]:
        return {"values": self.values, "failures": self.failures, "skipped": self.skipped}

    def _write(self) -> None:
        if self.path is not None:
            write_json(self.path, self.as_dict())


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader finds either the old file or all of the new one."""
    text = json.dumps(value, indent=1) + "\n"
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
