"""The `gpunet` program: its commands, and how whatever goes wrong reaches the person who typed."""

from typing import Annotated

import typer

from gpunet.cli.data import data
