"""What the server answers, address by address; `Guard` has let in nobody but the page.

GET  /            the page                        POST /plan       a plan, piece by piece
GET  /page/FILE   its modules and styles          POST /file/KIND  a plan as a file: json, snapshot
GET  /start       what the page begins with       POST /do         something to do for the training
GET  /net/NAME    a shipped net as text
GET  /news        what the training says, as      POST /look/KIND  something to see of the net
                  events while one looks          POST /picture    a picture to look at
                                                  POST /here       that the page is open
"""

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from gpunet.errors import ConfigError, GpunetError
from gpunet.live.helper import Helper
from gpunet.live.pages import page_file
from gpunet.live.session import Session
from gpunet.system.resources import config_names, config_path

MOST_ASKED = 1 << 20
"""Bytes of a request."""

MOST_PICTURE = 1 << 25
"""Bytes of a picture."""

MISTAKE = "x-mistake"
"""A header of what is no answer but the words of a mistake."""

BODY_SECONDS = 10
EVERY = 0.1
"""Seconds between two pieces of news."""

QUIET = 15.0
"""Seconds without news after which the stream says that it is alive."""

ASK_SECONDS = 120
LOOKS = ("layers", "examples", "saliency", "judged", "lesson")
FILES = {"json": "application/json", "snapshot": "application/octet-stream"}


class Live:
    """The application and what it talks to: the training, and the two processes that plan and look.

    `start`   what the page begins with
    `folder`  for files that live as long as the server
    `leave`   called when nobody has looked for `patience` seconds
    """

    def __init__(
        self, session: Session, start: dict[str, Any], folder: Path, leave: Callable[[], None], patience: float
    ) -> None:
        self._session = session
        self._start = start
        self._folder = folder
        self._leave = leave
        self._patience = patience
        self._plans = Helper("plans", spare=True)
        self._looks = Helper("looks", spare=False)
        self._seen = monotonic()
        self._viewers = 0
        self._pictures = 0

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/", self._page),
            Route("/page/{name:path}", self._file),
            Route("/start", self._begin),
            Route("/net/{name}", self._net),
            Route("/news", self._news),
            Route("/plan", self._plan, methods=["POST"]),
            Route("/file/{kind}", self._export, methods=["POST"]),
            Route("/do", self._do, methods=["POST"]),
            Route("/look/{kind}", self._look, methods=["POST"]),
            Route("/picture", self._picture, methods=["POST"]),
            Route("/here", self._here, methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._life, exception_handlers={GpunetError: _mistake})

    @asynccontextmanager
    async def _life(self, app: Starlette) -> AsyncIterator[None]:
        await self._plans.start()
        watch = asyncio.ensure_future(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            await self._plans.close()
            await self._looks.close()

    async def _watch(self) -> None:
        """Leave once nobody has looked for a while."""
        while self._viewers or monotonic() - self._seen < self._patience:
            if self._viewers:
                self._seen = monotonic()
            await asyncio.sleep(min(1.0, self._patience / 4))
        self._leave()

    # -- the page ----------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        return _static("index.html")

    async def _file(self, request: Request) -> Response:
        return _static(request.path_params["name"])

    async def _begin(self, request: Request) -> Response:
        self._seen = monotonic()
        return JSONResponse(self._start)

    async def _net(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in config_names():
            return PlainTextResponse("there is no such net", 404)
        return PlainTextResponse(config_path(name).read_text("utf-8"))

    async def _here(self, request: Request) -> Response:
        self._seen = monotonic()
        return JSONResponse({"done": True})

    # -- plans -------------------------------------------------------------------------------------

    async def _plan(self, request: Request) -> Response:
        self._seen = monotonic()
        return _lines(self._plans.ask("plan", await _asked(request)))

    async def _export(self, request: Request) -> Response:
        kind = request.path_params["kind"]
        if kind not in FILES:
            return PlainTextResponse("there is no such file", 404)
        async for part in self._plans.ask(kind, await _asked(request)):
            if part["stage"] == "file":
                content = part["text"].encode() if "text" in part else b64decode(part["base64"])
                return Response(content, media_type=FILES[kind])
            raise ConfigError(part.get("words") or "another plan was asked for meanwhile; ask again")
        raise ConfigError("there was no answer; ask again")

    # -- the training ------------------------------------------------------------------------------

    async def _news(self, request: Request) -> Response:
        began, after = (_number(request.query_params.get(name, "0")) for name in ("began", "after"))
        return StreamingResponse(self._events(int(began), after), media_type="text/event-stream")

    async def _events(self, began: int, after: float) -> AsyncIterator[str]:
        """News as events, ten times a second at most; what is drawn of the training costs it no more than that."""
        told, version, said_at = self._session.told, 0, monotonic()
        self._viewers += 1
        try:
            while True:
                if told.version != version:
                    version, said_at = told.version, monotonic()
                    news = told.news(began, after)
                    began = news["began"]
                    after = news["points"][-1][0] if news["points"] else after if news["progress"] else 0
                    yield f"data: {json.dumps(_plain(news))}\n\n"
                    if news["state"] == "closed":
                        return
                elif monotonic() - said_at > QUIET:
                    said_at = monotonic()
                    yield ": alive\n\n"
                await asyncio.sleep(EVERY)
        finally:
            self._viewers -= 1
            self._seen = monotonic()

    async def _do(self, request: Request) -> Response:
        self._seen = monotonic()
        asked = await _asked(request)
        if asked.get("do") == "weights":
            raise ConfigError("the page asked for what there is not; load it again")
        return JSONResponse(_plain(await self._training(asked)))

    async def _training(self, asked: dict[str, Any]) -> dict[str, Any]:
        answer = asyncio.wrap_future(self._session.ask(asked))
        try:
            return await asyncio.wait_for(answer, ASK_SECONDS)
        except TimeoutError:
            raise ConfigError("the training did not answer; a step of it takes long") from None

    # -- looks -------------------------------------------------------------------------------------

    async def _look(self, request: Request) -> Response:
        kind, asked = request.path_params["kind"], await _asked(request)
        if kind not in LOOKS:
            return PlainTextResponse("there is no such look", 404)
        if kind != "lesson":
            picture = asked.pop("picture", None)
            asked |= await self._training({"do": "weights", "folder": str(self._folder)})
            if isinstance(picture, int):
                asked["picture"] = str(self._folder / f"picture-{picture}")
        return _lines(self._looks.ask(kind, asked))

    async def _picture(self, request: Request) -> Response:
        """Keep a picture; nothing of it is decoded but by the process that looks."""
        content = await _body(request, MOST_PICTURE)
        with suppress(OSError):
            (self._folder / f"picture-{self._pictures - 1}").unlink()
        self._pictures += 1
        (self._folder / f"picture-{self._pictures}").write_bytes(content)
        return JSONResponse({"picture": self._pictures})


def _static(name: str) -> Response:
    found = page_file(name)
    if found is None:
        return PlainTextResponse("there is no such file", 404)
    content, media_type = found
    return Response(content, media_type=media_type)


async def _mistake(request: Request, error: Exception) -> Response:
    """One sentence; as an answer, for browsers log other statuses as faults of the page."""
    return JSONResponse({"words": str(error)}, headers={MISTAKE: "yes"})


def _lines(parts: AsyncIterator[dict[str, Any]]) -> Response:
    """The parts of an answer, a line of JSON each, as they come."""

    async def lines() -> AsyncIterator[str]:
        async for part in parts:
            yield json.dumps(_plain(part)) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


async def _asked(request: Request) -> dict[str, Any]:
    """What a request asks for. Raises ConfigError for what is no JSON, or too much."""
    try:
        found = json.loads(await _body(request, MOST_ASKED))
    except (ValueError, RecursionError):
        raise ConfigError("the page asked for something that is no JSON; load it again") from None
    if not isinstance(found, dict):
        raise ConfigError("the page asked for nothing; load it again")
    return found


async def _body(request: Request, most: int) -> bytes:
    """The bytes of a request, which must come soon. Raises ConfigError where there are more than `most`."""
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > most:
                    raise ConfigError(f"that is too much: the page sends up to {most:,} bytes")
    except (TimeoutError, ClientDisconnect):
        raise ConfigError("the request was broken off") from None
    return bytes(content)


def _number(text: str) -> float:
    try:
        return max(float(text), 0.0) if len(text) < 30 else 0.0
    except ValueError:
        return 0.0


def _plain(value: Any) -> Any:
    """The same with null for what is infinite or NaN, which JSON has no word for."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not isfinite(value) else value
