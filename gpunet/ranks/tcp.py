"""Ranks that meet over TCP, where no MPI has started them: RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say how.

Rank 0 listens on the port; the others tell it where they listen, and it tells all. Then each two have a connection.
Meant for machines that trust each other: whoever reaches the port while the ranks meet may take part.
"""

import selectors
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from json import dumps, loads
from time import monotonic, sleep
from typing import Any

import numpy as np

from gpunet.devices.device import Array, Device
from gpunet.errors import ConfigError, DeviceError
from gpunet.ranks.communicator import Communicator, Place, on_host

MEET_SECONDS = 60.0
LOOK_SECONDS = 0.05
"""How often a rank that waits looks whether there is still use in it."""

HEAD = struct.Struct("<Q")
MOST_BYTES = 2**20
"""What is said while ranks meet is shorter: whoever announces more is no rank."""


class TcpCommunicator(Communicator):
    """All ranks of a starter without MPI; arrays of a GPU pass through the host's memory.

    Raises ConfigError where the ranks cannot meet within MEET_SECONDS, as where the port is in use.
    """

    def __init__(self, place: Place, address: str, port: int) -> None:
        self.place = place
        self._lines: dict[int, socket.socket] = {}
        deadline = monotonic() + MEET_SECONDS
        with ExitStack() as unless_met, socket.create_server(("", 0), backlog=place.size) as own:
            unless_met.callback(self._hang_up)
            self._meet(own, address, port, deadline)
            unless_met.pop_all()
        for line in self._lines.values():
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            line.setblocking(False)
        hosts = self.tell(place.host)
        self.place = Place(place.rank, place.size, hosts[: place.rank].count(place.host), place.host)

    def _meet(self, own: socket.socket, address: str, port: int, deadline: float) -> None:
        """Connect with each other rank; `own`: where this one listens."""
        place = self.place
        if place.rank == 0:
            where = self._welcome_all(port, deadline)
        else:
            where = self._join(address, port, own.getsockname()[1], deadline)
        for rank in range(1, place.rank):
            self._lines[rank] = _connected(where[rank][0], where[rank][1], deadline, f"rank {rank}")
            _send(self._lines[rank], place.rank)
        for _ in range(place.rank + 1, place.size if place.rank else 0):
            line = _accepted(own, deadline, "the ranks behind this one")
            self._lines[_receive(line, "a rank behind this one")] = line

    def _welcome_all(self, port: int, deadline: float) -> list[Any]:
        """Rank 0 hears where all listen, and tells them."""
        try:
            server = socket.create_server(("", port), backlog=self.size)
        except OSError as error:
            raise ConfigError(
                f"rank 0 cannot listen on MASTER_PORT {port} ({error.strerror}): another program, or an earlier run, "
                "uses it; set MASTER_PORT to a free one in all ranks"
            ) from None
        where: list[Any] = [None] * self.size
        with server:
            while len(self._lines) < self.size - 1:
                missing = f"{self.size - 1 - len(self._lines)} of {self.size} ranks"
                line = _accepted(server, deadline, missing)
                rank, size, listens = _receive(line, f"a process that reached MASTER_PORT {port}")
                if size != self.size or not 0 < rank < self.size or rank in self._lines:
                    line.close()
                    raise ConfigError(
                        f"a process said that it is rank {rank} of {size}, and rank 0 is of {self.size}; each RANK "
                        "must be there once, and WORLD_SIZE the same in all"
                    )
                self._lines[rank] = line
                where[rank] = (line.getpeername()[0], listens)
        for line in self._lines.values():
            _send(line, where)
        return where

    def _join(self, address: str, port: int, listens: int, deadline: float) -> list[Any]:
        """Tell rank 0 where this one listens, and hear of the others."""
        first = f"rank 0 at MASTER_ADDR {address}, MASTER_PORT {port}"
        self._lines[0] = _connected(address, port, deadline, first)
        _send(self._lines[0], [self.rank, self.size, listens])
        where: list[Any] = _receive(self._lines[0], first)
        return where

    def exchange(self, device: Device, sent: Sequence[Array], received: Sequence[Array]) -> None:
        ours = [on_host(device, array) for array in sent]
        theirs = [array if isinstance(array, np.ndarray) else np.empty(array.shape, array.dtype) for array in received]
        np.copyto(theirs[self.rank], ours[self.rank])
        others = [rank for rank in self._lines if rank != self.rank]
        self._move({r: _bytes(ours[r]) for r in others}, {r: _bytes(theirs[r]) for r in others})
        self.sent_bytes += sum(ours[rank].nbytes for rank in others)
        for array, values in zip(received, theirs, strict=True):
            if array is not values and values.size:
                device.write(array, values)

    def total(self, device: Device, array: Array) -> None:
        values = on_host(device, array).reshape(-1)
        every = np.empty((self.size, values.size), values.dtype)
        self.exchange(device, [values] * self.size, list(every))
        np.add.reduce(every, axis=0, out=values)
        if values.base is not array and values is not array:
            device.write(array, values.reshape(array.shape))

    def tell(self, value: Any) -> list[Any]:
        own = dumps(value).encode()
        others = list(self._lines)
        sizes = {rank: bytearray(HEAD.size) for rank in others}
        self._move({rank: memoryview(HEAD.pack(len(own))) for rank in others}, _views(sizes))
        texts = {rank: bytearray(HEAD.unpack(sizes[rank])[0]) for rank in others}
        self._move({rank: memoryview(own) for rank in others}, _views(texts))
        texts[self.rank] = bytearray(own)
        return [loads(texts[rank]) for rank in range(self.size)]

    def spread(self, values: np.ndarray) -> None:
        if self.rank == 0:
            self._move({rank: _bytes(values) for rank in self._lines}, {})
        else:
            self._move({}, {0: _bytes(values)})

    def _move(self, sent: dict[int, memoryview], received: dict[int, memoryview]) -> None:
        """Send and receive all of these, whichever can go on. Raises DeviceError where a rank has left."""
        with selectors.DefaultSelector() as selector:
            for rank, line in self._lines.items():
                events = (selectors.EVENT_WRITE if len(sent.get(rank, b"")) else 0) | (
                    selectors.EVENT_READ if len(received.get(rank, b"")) else 0
                )
                if events:
                    selector.register(line, events, rank)
            while selector.get_map():
                ready = selector.select(LOOK_SECONDS)
                if not ready:
                    self.look()
                for key, events in ready:
                    self._go_on(selector, key, events, sent, received)

    def _go_on(
        self,
        selector: selectors.BaseSelector,
        key: selectors.SelectorKey,
        events: int,
        sent: dict[int, memoryview],
        received: dict[int, memoryview],
    ) -> None:
        rank, line, left = key.data, self._lines[key.data], key.events
        try:
            if events & selectors.EVENT_WRITE:
                sent[rank] = sent[rank][line.send(sent[rank]) :]
                left &= ~(0 if len(sent[rank]) else selectors.EVENT_WRITE)
            if events & selectors.EVENT_READ:
                count = line.recv_into(received[rank])
                if not count:
                    raise ConnectionResetError
                received[rank] = received[rank][count:]
                left &= ~(0 if len(received[rank]) else selectors.EVENT_READ)
        except BlockingIOError:
            return
        except OSError:
            self._lost(rank)
        if left:
            selector.modify(line, left, rank)
        else:
            selector.unregister(line)

    def _lost(self, rank: int) -> None:
        """A connection is gone: whoever looks after the ranks knows more in a moment."""
        until = monotonic() + 2
        while monotonic() < until:
            self.look()
            sleep(LOOK_SECONDS)
        raise DeviceError(f"the connection to rank {rank} is gone: it has ended")

    def close(self) -> None:
        self.tell(None)
        self._hang_up()

    def _hang_up(self) -> None:
        for line in self._lines.values():
            line.close()


def _bytes(values: np.ndarray) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _views(buffers: dict[int, bytearray]) -> dict[int, memoryview]:
    return {rank: memoryview(buffer) for rank, buffer in buffers.items()}


def _connected(address: str, port: int, deadline: float, who: str) -> socket.socket:
    while True:
        try:
            return socket.create_connection((address, port), timeout=MEET_SECONDS)
        except OSError as error:
            if monotonic() > deadline:
                raise ConfigError(f"{who} cannot be reached: {error.strerror or error}") from None
            sleep(LOOK_SECONDS)


def _accepted(server: socket.socket, deadline: float, missing: str) -> socket.socket:
    server.settimeout(max(0.1, deadline - monotonic()))
    try:
        line, _ = server.accept()
    except TimeoutError:
        raise ConfigError(
            f"{missing} did not come within {MEET_SECONDS:.0f} seconds; see that all were started"
        ) from None
    line.settimeout(MEET_SECONDS)
    return line


def _send(line: socket.socket, value: Any) -> None:
    text = dumps(value).encode()
    with suppress(OSError):  # of one that has left, what it said tells more
        line.sendall(HEAD.pack(len(text)) + text)


def _receive(line: socket.socket, who: str) -> Any:
    """What another says while the ranks meet. Raises ConfigError, hanging up, where it leaves or is no rank."""
    with ExitStack() as unless_heard:
        unless_heard.callback(line.close)
        said = _heard(line, who)
        unless_heard.pop_all()
    return said


def _heard(line: socket.socket, who: str) -> Any:
    try:
        count = HEAD.unpack(_exactly(line, HEAD.size))[0]
        if count > MOST_BYTES:
            raise ValueError
        return loads(_exactly(line, count))
    except OSError:
        raise ConfigError(f"{who} left while the ranks met; if it is a rank, it says why") from None
    except ValueError:
        raise ConfigError(
            f"{who} does not speak as a rank does: another program uses the port; set MASTER_PORT to a free one in all"
        ) from None


def _exactly(line: socket.socket, count: int) -> bytes:
    """So many bytes. Raises OSError where they do not come."""
    found = b""
    while len(found) < count:
        if not (more := line.recv(count - len(found))):
            raise ConnectionResetError
        found += more
    return found
