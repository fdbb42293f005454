"""A process that answers, seen from the server: the newest request wins, and one that keeps it waiting is ended.

A spare process stands ready, so that the next request need not wait until one has started.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

PATIENCE = 0.3
"""Seconds that a newer request waits for one that is under way, and was not broken off, before its process is ended."""

MOST_LINE = 1 << 27
"""Bytes of a part of an answer."""

Part = dict[str, Any]

SUPERSEDED: Part = {"stage": "superseded"}
FAILED: Part = {
    "stage": "error",
    "words": "the process that answers has ended, perhaps for want of memory; a change of the net asks it again",
}


class _Process:
    """One process: how to write to it, and whether it has said anything to the request that it was given last."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.ready = asyncio.Event()
        self.answering = 0

    def send(self, request: Part) -> None:
        assert self.process.stdin is not None
        with suppress(OSError, RuntimeError):
            self.process.stdin.write(json.dumps(request).encode() + b"\n")

    async def end(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


class Helper:
    """Answers requests in a process of the kind `name` of gpunet.live.child.

    `spare`  whether a second one stands ready
    """

    def __init__(self, name: str, *, spare: bool) -> None:
        self._name = name
        self._wants_spare = spare
        self._count = 0
        self._parts: asyncio.Queue[Part] | None = None
        self._main: _Process | None = None
        self._spare: _Process | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Have the processes made."""
        self._main = await self._made()
        if self._wants_spare:
            self._spare = await self._made()

    async def ask(self, kind: str, asked: Part) -> AsyncIterator[Part]:
        """The parts of the answer, the last of which is "end", with the `ms` that it took the process's processor, or
        "error". Where a newer request comes, it is SUPERSEDED.
        """
        if self._parts is not None:
            self._parts.put_nowait(SUPERSEDED)
        parts: asyncio.Queue[Part] = asyncio.Queue()
        self._parts = parts
        self._count += 1
        number = self._count
        request = {"id": number, "kind": kind, "asked": asked}
        async with self._turn:
            if number == self._count:
                await self._send(request)
        try:
            while True:
                part = await parts.get()
                yield part
                if part["stage"] in ("end", "superseded", "error"):
                    return
        finally:
            if self._parts is parts:
                self._parts = None

    async def close(self) -> None:
        """End the processes."""
        for task in self._tasks:
            task.cancel()
        for process in (self._main, self._spare):
            if process is not None:
                await process.end()

    async def _send(self, request: Part) -> None:
        """Hand a request to the process; where that is at a search and stays there, to another."""
        if self._main is None or self._main.process.returncode is not None:
            self._main = await self._made()
        self._main.send(request)
        self._keep(self._watched(self._main, request))

    async def _watched(self, process: _Process, request: Part) -> None:
        """Where the process has said nothing to the newest request after a while: give it to the spare one."""
        await process.ready.wait()
        await asyncio.sleep(PATIENCE)
        async with self._turn:
            late = process.answering < request["id"] == self._count
            searching = process.answering > 0  # at an older request; what is slow itself is waited for
            if not (late and searching and process is self._main):
                return
            self._main, self._spare = self._spare, None
            await process.end()
            self._main = self._main or await self._made()
            self._main.send(request)
            if self._wants_spare:
                self._spare = await self._made()

    async def _made(self) -> _Process:
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gpunet.live.child",
            self._name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=MOST_LINE,
            env=os.environ | threads,
            start_new_session=True,  # Ctrl-C is the server's to hear
        )
        made = _Process(process)
        self._keep(self._read(made))
        return made

    async def _read(self, process: _Process) -> None:
        """Bring what a process says to whoever asked."""
        assert process.process.stdout is not None
        with suppress(ValueError):  # a line beyond MOST_LINE
            async for line in process.process.stdout:
                part = json.loads(line)
                process.ready.set()
                number = part.pop("id", 0)
                process.answering = max(process.answering, number)
                if part.get("stage") == "begun":
                    continue
                if number == self._count and self._parts is not None:
                    self._parts.put_nowait(part)
        if process is self._main and self._parts is not None:
            await process.end()
            self._parts.put_nowait(FAILED)

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
