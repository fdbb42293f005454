"""The server on the loopback address, in a thread beside the training; connections are few and short of patience."""

import asyncio
import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gpunet.errors import ConfigError

HOST = "127.0.0.1"
MOST_CONNECTIONS = 64
"""At once: a page has six. Files that the training keeps need numbers of the system's, too."""

SILENT_SECONDS = 10
"""That a connection may be open without a whole request."""

STARTED_SECONDS = 30


class _Protocol(H11Protocol):
    """Closes connections beyond MOST_CONNECTIONS, and those on which nothing is asked."""

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= MOST_CONNECTIONS:
            transport.abort()
            return
        super().connection_made(transport)
        self._silent = self.loop.call_later(SILENT_SECONDS, self._close_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        if hasattr(self, "_silent"):
            self._silent.cancel()
            super().connection_lost(exc)

    def _close_silent(self) -> None:
        if self.cycle is None:
            self.transport.abort()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, started: Event) -> None:
        super().__init__(config)
        self._told = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._told.set()


def bound(port: int) -> socket.socket:
    """A socket at the port of the loopback address; 0: at any that is free. Raises ConfigError where it is taken."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise ConfigError(f"port {port} cannot be used: {error.strerror}; give another --port, or none") from None
    return made


class Serving:
    """The server while it is entered. `make` makes the application within the server's loop."""

    def __init__(self, make: Callable[[], Any], listening: socket.socket) -> None:
        self._started = Event()
        self._listening = listening
        config = uvicorn.Config(
            make,
            factory=True,
            http=_Protocol,
            ws="none",
            lifespan="on",
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=SILENT_SECONDS,
            timeout_graceful_shutdown=2,
        )
        self._server = _Server(config, self._started)
        self._thread = Thread(target=self._serve, name="gpunet live", daemon=True)

    def __enter__(self) -> "Serving":
        self._thread.start()
        self._started.wait(STARTED_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(STARTED_SECONDS)
        self._listening.close()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listening]))
