"""The training, the server beside it and what the page begins with, from their start to their end."""

from collections.abc import Callable
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory
from typing import Any

from gpunet.data.dataset import Dataset
from gpunet.devices.cards import cards
from gpunet.live.guard import Guard
from gpunet.live.server import Live
from gpunet.live.serving import HOST, Serving, bound
from gpunet.live.session import Session
from gpunet.net.config import Config
from gpunet.optimize.optimizers import OPTIMIZERS
from gpunet.program.program import DTYPES
from gpunet.system.resources import config_names
from gpunet.version import __version__


def serve(
    config: Config,
    *,
    data_of: Callable[[Config], Dataset],
    prepared: Callable[[Config], Config],
    device: str,
    text: str,
    out: Path | None,
    resume: Path | None,
    port: int,
    patience: float,
    ready: Callable[[str], None],
    token: str | None = None,
) -> int:
    """Serve until the page, a signal or `patience` seconds without a viewer end it; returns the exit code.

    `text`   of the net, as the page begins with it
    `ready`  called with the link once it can be opened
    The other arguments are those of `Session`. Raises ConfigError where the port cannot be used.
    """
    session = Session(config, data_of, prepared, device, out=out, resume=resume)
    secret = token_urlsafe(16) if token is None else token
    listening = bound(port)
    port = listening.getsockname()[1]
    with TemporaryDirectory(prefix="gpunet-live-") as folder:
        live = Live(session, _start(text, config, device), Path(folder), lambda: _leave(session), patience)
        with Serving(lambda: Guard(live.app(), secret, port), listening):
            ready(f"http://{HOST}:{port}/{secret}/")
            return session.run()


def _leave(session: Session) -> None:
    session.ask({"do": "stop"})


def _start(text: str, config: Config, device: str) -> dict[str, Any]:
    """What the page begins with: the net, and what there is to choose from."""
    return {
        "version": __version__,
        "text": text,
        "batch": config.train.batch,
        "device": device,
        "nets": config_names(),
        "optimizers": list(OPTIMIZERS),
        "dtypes": list(DTYPES),
        "cards": [{"name": card.name, "bytes": card.total_bytes} for card in cards()],
    }
