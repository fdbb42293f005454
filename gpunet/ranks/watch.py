"""Who looks after the ranks of a run: where one dies, raises, hangs or has been stopped, all end, with one message.

A Watch listens, in the process that started the ranks or in rank 0; each rank has a Watched, which says that it lives
from a thread of its own, whatever the rank is at. A connection that ends without a word is a death; a silence of
SILENT_SECONDS is a hang, as of a process that was stopped. Lines of JSON go both ways.
"""

import json
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hmac import compare_digest
from secrets import token_hex
from time import monotonic, sleep
from typing import Any

from gpunet.errors import ConfigError, GpunetError
from gpunet.ranks.communicator import Place

BEAT_SECONDS = 0.5
SILENT_SECONDS = 6.0
"""After so long without a beat a rank counts as hung: a dozen beats in a row do not fail to come by themselves."""

GRACE_SECONDS = 2.0
"""Between being told to end and ending for good: time to leave whole files."""

SETTLE_SECONDS = 0.6
"""How long is waited for what other ranks have to say of the same fault."""

MEET_SECONDS = 10.0

DIED = "ended without a word: it was killed, or it crashed"


class RanksEnded(GpunetError):
    """The run ends because of what another rank met, which has been said already."""


@dataclass
class _Rank:
    """What is known of a connected rank."""

    line: socket.socket
    place: Place | None = None
    heard: float = field(default_factory=monotonic)
    rest: bytes = b""
    left: bool = False


class Watch:
    """Listens to the ranks, from a thread. `tell` is called once, with the message and the exit code.

    `address`  host:port:token, which ranks connect to
    `cause`    what ended the run, and the exit code; None as long as it goes on
    """

    def __init__(self, tell: Callable[[str], None], host: str = "127.0.0.1") -> None:
        self._token = token_hex(16)
        self._server = socket.create_server((host, 0))
        self._server.setblocking(False)
        name = "127.0.0.1" if host == "127.0.0.1" else socket.gethostname()
        self.address = f"{name}:{self._server.getsockname()[1]}:{self._token}"
        self.cause: tuple[str, int] | None = None
        self._tell = tell
        self._ranks: dict[int, _Rank] = {}
        self._faults: list[tuple[Place, str, int]] = []
        self._fault_at = 0.0
        self._note = ""
        self._closed = threading.Event()
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="gpunet-watch", daemon=True)
        self._thread.start()

    def forward(self, number: int) -> None:
        """Let rank 0 hear a signal."""
        self._say({"signal": number}, only=0)

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        for rank in self._ranks.values():
            rank.line.close()
        self._server.close()

    def settle(self) -> None:
        """Wait until what is known has been said, once the processes are gone."""
        if self._faults:
            self.ended.wait(2 * SETTLE_SECONDS + BEAT_SECONDS)

    def see_off(self, seconds: float) -> None:
        """Wait, for so long at most, until all others have gone that can hear why: not those that failed or hang."""
        until = monotonic() + seconds
        while monotonic() < until and any(r.place and r.place.rank and not r.left for r in list(self._ranks.values())):
            sleep(BEAT_SECONDS / 10)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            beaten = looked = monotonic()
            while not self._closed.is_set():
                ready = selector.select(BEAT_SECONDS / 5)
                if monotonic() - looked > SILENT_SECONDS / 2:
                    self._forgive_silence()
                looked = monotonic()
                for key, _ in ready:
                    if key.fileobj is self._server:
                        self._welcome(selector)
                    else:
                        self._hear(selector, key.fd)
                if monotonic() - beaten > BEAT_SECONDS:
                    beaten = monotonic()
                    self._say({"beat": True, "note": self._note})
                    self._look_for_silence()
                if self._faults and self.cause is None and monotonic() - self._fault_at > SETTLE_SECONDS:
                    self._end()

    def _welcome(self, selector: selectors.BaseSelector) -> None:
        line, _ = self._server.accept()
        line.setblocking(False)
        self._ranks[line.fileno()] = _Rank(line)
        selector.register(line, selectors.EVENT_READ)

    def _hear(self, selector: selectors.BaseSelector, number: int) -> None:
        rank = self._ranks[number]
        try:
            data = rank.line.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        rank.heard = monotonic()
        *lines, rank.rest = (rank.rest + data).split(b"\n")
        for text in lines:
            if not self._take(rank, json.loads(text)):
                data = b""
        if not data:
            selector.unregister(rank.line)
            rank.line.close()
            del self._ranks[number]
            if rank.place is not None and not rank.left:
                self._note_fault(rank.place, DIED, GpunetError.exit_code)

    def _take(self, rank: _Rank, said: dict[str, Any]) -> bool:
        """What a rank says; False for a stranger."""
        if rank.place is None:
            if not compare_digest(str(said.get("token")), self._token):
                return False
            rank.place = Place(said["rank"], said["size"], 0, said["host"])
        if "fault" in said:
            self._note_fault(rank.place, said["fault"], said["code"])
        self._note = said.get("note", self._note)
        rank.left = rank.left or "fault" in said or "left" in said
        return True

    def _note_fault(self, place: Place, what: str, code: int) -> None:
        if not self._faults:
            self._fault_at = monotonic()
        self._faults.append((place, what, code))

    def _forgive_silence(self) -> None:
        """This process was stopped itself, so what came meanwhile is to be heard first."""
        for rank in self._ranks.values():
            rank.heard = monotonic()

    def _look_for_silence(self) -> None:
        for rank in self._ranks.values():
            if rank.place is not None and not rank.left and monotonic() - rank.heard > SILENT_SECONDS:
                rank.left = True
                what = f"has not answered for {SILENT_SECONDS:.0f} seconds: it hangs, or it was stopped"
                self._note_fault(rank.place, what, GpunetError.exit_code)

    def _end(self) -> None:
        """Say what happened, once, and let all ranks end."""
        told = [fault for fault in self._faults if fault[1] != DIED] or self._faults
        place, what, code = told[0]
        same = what != DIED and len({of.rank for of, other, _ in told if other == what}) > 1
        words = what if same else f"{place}: {what}"
        self.cause = (words, code)
        note = f"\n{self._note}" * bool(self._note and self._note not in words)
        self._tell(words + note)
        self._say({"end": words, "code": code})
        self.ended.set()

    def _say(self, what: dict[str, Any], only: int | None = None) -> None:
        data = json.dumps(what).encode() + b"\n"
        for rank in list(self._ranks.values()):
            if only is None or (rank.place is not None and rank.place.rank == only):
                with suppress(OSError):
                    rank.line.send(data)


class Watched:
    """A rank's own side: says that it lives, and hears when all are to end.

    `keeper` the rank that looks after all; None: whoever has started them does
    `leave`  called with the exit code where the rank has not ended by itself in time
    `said`   set once it is known that all end
    """

    def __init__(
        self,
        address: str,
        place: Place,
        *,
        keeper: Place | None = None,
        leave: Callable[[int], None] = os._exit,
        complain: Callable[[str], None] = lambda message: None,
    ) -> None:
        host, port, token = address.split(":")
        self.place, self._keeper = place, keeper
        self._leave, self._complain = leave, complain
        try:
            self._line = socket.create_connection((host, int(port)), timeout=MEET_SECONDS)
        except OSError as error:
            raise ConfigError(
                f"{place} cannot reach who looks after all ranks at {host}, port {port}: {error.strerror or error}; "
                "let the machines reach each other by their names"
            ) from None
        self._line.settimeout(BEAT_SECONDS)
        self._lock = threading.Lock()
        self._ended: tuple[str, int] | None = None
        self._left = False
        self._note = ""
        self.said = threading.Event()
        self._say({"token": token, "rank": place.rank, "size": place.size, "host": place.host})
        for work, name in ((self._beat, "beat"), (self._listen, "ear")):
            threading.Thread(target=work, name=f"gpunet-{name}", daemon=True).start()

    def look(self) -> None:
        """Raise RanksEnded where the run has ended for all."""
        if self._ended is not None:
            error = RanksEnded(self._ended[0])
            error.exit_code = self._ended[1]
            raise error

    def fault(self, what: str, code: int) -> None:
        """Say what this rank has met; all others end then."""
        if self._ended is None:
            self._left = True
            self._say({"fault": what, "code": code})

    def note(self, text: str) -> None:
        """What is to be told with a fault, whoever meets it: how the run can go on."""
        self._say({"note": text})

    def left(self) -> None:
        """Say that this rank is done."""
        self._left = True
        self._say({"left": True})
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def _say(self, what: dict[str, Any]) -> None:
        with suppress(OSError), self._lock:
            self._line.sendall(json.dumps(what).encode() + b"\n")

    def _beat(self) -> None:
        while not self._left:
            self._say({"beat": True})
            threading.Event().wait(BEAT_SECONDS)

    def _listen(self) -> None:
        with self._line:
            self._obey_all()

    def _obey_all(self) -> None:
        """Until the connection ends, or all are to end."""
        rest, heard = b"", monotonic()
        while True:
            try:
                data = self._line.recv(65536)
                if not data:
                    break
                heard = monotonic()
            except TimeoutError:
                if monotonic() - heard > SILENT_SECONDS:
                    break
                continue
            except OSError:
                break
            *lines, rest = (rest + data).split(b"\n")
            for text in lines:
                if self._obey(json.loads(text)):
                    return
        if not self._left:  # whoever listened is gone, or hangs
            keeper = f"{self._keeper}:" if self._keeper else f"the gpunet that started all ranks on {self.place.host}"
            self._end(f"{keeper} was killed or stopped, or it hangs", GpunetError.exit_code, alone=True)

    def _obey(self, said: dict[str, Any]) -> bool:
        self._note = said.get("note", self._note)
        if "signal" in said:
            signal.raise_signal(said["signal"]) if os.name == "nt" else os.kill(os.getpid(), said["signal"])
        if "end" in said:
            self._end(said["end"], said["code"])
        return "end" in said

    def _end(self, words: str, code: int, *, alone: bool = False) -> None:
        """Let the main thread end by itself, or else end without it; `alone`: nobody else says why."""
        self._ended = words, code
        self.said.set()
        if alone:
            if self.place.rank == 1:
                self._complain(words + f"\n{self._note}" * bool(self._note))
            self._say({"left": True})  # should the keeper go on, it is not to take this for a death
        threading.Event().wait(GRACE_SECONDS)
        if not self._left or alone:
            self._leave(code)
