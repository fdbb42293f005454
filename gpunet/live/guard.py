"""Who may speak to the server: the page that it gave out, and nobody else.

Other pages in the same browser reach a loopback address, too. So the token stands in the path of every address, the
Host must be the server's own (a name that somebody made point here is not), and so must the Origin where there is one.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from hmac import compare_digest
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

REFUSED = (
    b"This is gpunet's live page. Open the link that `gpunet live` printed: it has a token that this address lacks.\n"
)


class Guard:
    """Lets what comes with the token, from the page's own origin, through to `app`, the token taken off the path."""

    def __init__(self, app: App, token: str, port: int) -> None:
        self._app = app
        self._token = token.encode()
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http" or not self._is_ours(scope):
            await _refuse(send)
            return
        _, _, rest = scope["path"].lstrip("/").partition("/")
        inner = dict(scope) | {"path": f"/{rest}", "raw_path": f"/{rest}".encode(), "root_path": ""}
        await self._app(inner, receive, _with_headers(send))

    def _is_ours(self, scope: Scope) -> bool:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts, origins = headers.get(b"host", []), headers.get(b"origin", [])
        token, slash, _ = scope["path"].lstrip("/").partition("/")
        return (
            len(hosts) == 1
            and hosts[0].decode("latin-1") in self._hosts
            and all(origin.decode("latin-1") == f"http://{hosts[0].decode('latin-1')}" for origin in origins)
            and bool(slash)
            and compare_digest(token.encode("utf-8", "surrogatepass"), self._token)
        )


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sending


async def _refuse(send: Send) -> None:
    """403, without a word about what was wrong."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(REFUSED)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": REFUSED})
