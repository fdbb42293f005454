"""pytest -p tests.ptx.plugin: executed PTX in all tests where the emulator would run the kernels.

GPUNET_PTX says how, as keywords of PtxDriver: "architecture=90 watches=1 noise=2".
"""

import os
from typing import Any

import pytest

import tests.emulator.driver as emulator

from . import driver

VARIABLE = "GPUNET_PTX"


def _options() -> dict[str, Any]:
    said = dict(one.split("=") for one in os.environ.get(VARIABLE, "").split())
    return {name: value if name == "architecture" else int(value) for name, value in said.items()}


class _Everywhere(driver.PtxDriver):
    """With what the variable says."""

    def __init__(self, *arguments: Any, flags: tuple[str, ...] = (), **keywords: Any):
        super().__init__(*arguments, **{**_options(), **keywords})  # flags are those of the emulator's compiler


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Before conftest.py, which imports the driver, is read."""
    emulator.EmulatorDriver = _Everywhere  # type: ignore[misc]
