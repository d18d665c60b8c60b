"""The gate before everything: who is asking, from where, for what, how much. What it does not know of, it refuses.

Plain ASGI, so that streams pass through unbuffered. Gradio checks its own login on some of its routes only; here every
route of Gradio's that the page does not need is closed, and the others want a user with a role that may see the page.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from anyio.to_thread import run_sync
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from appliance.store import logins
from appliance.ui.access import COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from appliance.ui.desk import Desk

PUBLIC = re.compile(
    r"/(login|join|logout|healthz|readyz|own/.*|assets/.*|static/.*|vote/(assets|static)/.*|favicon\.ico)"
)
"""Needs no user: signing in, health, and the files of the page's own program."""

OURS = re.compile(r"/(account|api|download|pulse)(/.*)?")
"""Routes of our own; each says its roles with `require`."""

GRADIO = re.compile(
    r"|config|theme\.css|manifest\.json|svelte/.*"
    r"|gradio_api/(startup-events|heartbeat/\w+|queue/join|queue/data|run/predict|upload|upload_progress|cancel|reset|app_id|info)"
)
"""What the page asks of Gradio, below `/` or `/vote/`. Files are judged apart."""

FILE = "gradio_api/file="
ON_MAIN = ("trainer", "admin")
UNSAFE = ("POST", "PUT", "PATCH", "DELETE")
OTHER_BODY = 16 << 20
DRAIN = 32 << 20
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]{1,64}){1,8}")

_BASE = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
POLICY = {
    True: f"{_BASE}; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; media-src 'self' blob:",
    False: f"{_BASE}; script-src 'none'; style-src 'self'",
}
"""Content-Security-Policy of Gradio's pages (True), whose program is written inline and whose charts compile, and of ours."""


class Gate:
    """ASGI middleware; puts `appliance` (the Desk) and `appliance.member` into the scope."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self.app, self.desk = app, desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)
        path = self._place(scope, headers)
        scope["appliance"], scope["appliance.member"] = self.desk, None
        is_gradio = not OURS.fullmatch(path) and not PUBLIC.fullmatch(path)
        flow = Flow(
            receive, send, self._limit(path), is_gradio=is_gradio, fresh=not re.match(r".*/(assets|static)/", path)
        )
        answer = await self._judge(scope, path, headers)
        if answer is not None:
            await flow.drain()
            await answer(scope, flow.receive, flow.send)
            return
        if path.endswith("gradio_api/upload") and scope["method"] == "POST":
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]  # it is read here
            flow.watch(lambda uploaded: self.desk.uploads.note(uploaded, scope["appliance.member"].id))
        try:
            await self.app(scope, flow.receive, flow.send)
        except Exception:
            if not flow.refused:
                raise

    def _place(self, scope: Scope, headers: Headers) -> str:
        """The path below the prefix under which a proxy publishes us; writes both into the scope as Starlette wants them."""
        prefix = self.desk.prefix or headers.get("x-forwarded-prefix", "").rstrip("/")
        if not PREFIX.fullmatch(prefix):
            prefix = ""
        path = scope["path"]
        if prefix:
            scope["root_path"] = prefix
            if path != prefix and not path.startswith(prefix + "/"):
                scope["path"], scope["raw_path"] = prefix + path, prefix.encode() + scope.get("raw_path", path.encode())
            path = scope["path"][len(prefix) :] or "/"
        scope["appliance.prefix"] = prefix
        return path

    def _limit(self, path: str) -> int:
        uploads = path.endswith("gradio_api/upload") or path.startswith("/api/")
        return self.desk.upload_bytes + (1 << 20) if uploads else min(OTHER_BODY, self.desk.upload_bytes + (1 << 20))

    async def _judge(self, scope: Scope, path: str, headers: Headers) -> Response | None:
        """The answer that ends the request here, or None to let it through."""
        prefix, method = scope["appliance.prefix"], scope["method"]
        bearer = self._bearer(path, headers)
        if method in UNSAFE and not bearer and not same_site(headers):
            return _no(403, "this request came from another site")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limit(path):
            return too_large(self._limit(path))
        if path == "/logout" and method != "POST":  # Gradio has a route for it
            return _no(405, "sign out with the button")
        if PUBLIC.fullmatch(path):
            return None
        member = await run_sync(self._who, bearer, headers)
        scope["appliance.member"] = member
        is_document = method == "GET" and "text/html" in headers.get("accept", "")
        if member is None:
            if not is_document:
                return _no(401, "sign in first")
            here = prefix + path + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
            if (
                headers.get("sec-fetch-site") == "cross-site"
            ):  # a link from elsewhere: the strict cookie comes with the second try
                return HTMLResponse(f'<meta http-equiv="refresh" content="0; url={quote(here, safe="/?=&%")}">')
            return RedirectResponse(f"{prefix}/login?next={quote(here, safe='')}", 303)
        if OURS.fullmatch(path):
            return None
        if path == "/vote":
            return RedirectResponse(f"{prefix}/vote/", 303)
        votes = path.startswith("/vote/")
        if not votes and member.role not in ON_MAIN:
            if is_document and path == "/":
                return RedirectResponse(f"{prefix}/vote/", 303)
            return _no(403, "this page is for trainers and admins")
        inner = path[len("/vote/") if votes else 1 :]
        if inner.startswith(FILE):
            return (
                None if self.desk.uploads.is_theirs(unquote(inner[len(FILE) :]), member.id) else _no(404, "not found")
            )
        return None if GRADIO.fullmatch(inner) else _no(404, "not found")

    def _bearer(self, path: str, headers: Headers) -> str | None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and re.match(r"/(api|download)/", path) else None

    def _who(self, bearer: str | None, headers: Headers):
        if bearer:
            return logins.who_has(self.desk.store, bearer)
        return logins.who(self.desk.store, cookie_parser(headers.get("cookie", "")).get(COOKIE))


class Flow:
    """One request's way in and out: bodies are counted as they come, answers get the security headers."""

    def __init__(self, receive: Receive, send: Send, limit: int, *, is_gradio: bool, fresh: bool) -> None:
        self._receive, self._send, self._left, self._limit = receive, send, limit, limit
        self._is_gradio, self._fresh = is_gradio, fresh
        self._started = self._ended = False
        self.refused = False
        self._body = b""
        self._see: Callable[[str], None] | None = None

    def watch(self, see: Callable[[str], None]) -> None:
        """Call `see` with each path that the answer to an upload lists, before the browser has them."""
        self._see = see

    def _look(self, message: Message) -> None:
        self._body += message.get("body", b"")
        if self._see is None or message.get("more_body"):
            return
        try:
            found = json.loads(self._body)
        except ValueError:
            return
        for path in found if isinstance(found, list) else []:
            if isinstance(path, str):
                self._see(path)

    async def receive(self) -> Message:
        if self.refused:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left >= 0:
            self._ended = not message.get("more_body", False)
            return message
        if not self._started:
            await self.drain()
            answer = too_large(self._limit)
            await self.send(
                {"type": "http.response.start", "status": answer.status_code, "headers": answer.raw_headers}
            )
            await self.send({"type": "http.response.body", "body": bytes(answer.body)})
        self.refused = True
        return {"type": "http.disconnect"}

    async def drain(self) -> None:
        """Throw a body away that is not wanted, up to a bound: a client that still sends does not see the answer."""
        left = DRAIN
        while left > 0 and not self._ended:
            message = await self._receive()
            left -= len(message.get("body", b""))
            self._ended = not message.get("more_body", False)

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            self._started = True
            self._secure(MutableHeaders(scope=message))
        elif self._see is not None:
            self._look(message)
        await self._send(message)

    def _secure(self, headers: MutableHeaders) -> None:
        headers.setdefault("content-security-policy", POLICY[self._is_gradio])
        headers.setdefault("x-content-type-options", "nosniff")
        headers.setdefault("x-frame-options", "DENY")
        headers.setdefault("referrer-policy", "same-origin")
        headers.setdefault("cross-origin-opener-policy", "same-origin")
        headers.setdefault("permissions-policy", "camera=(), microphone=(), geolocation=()")
        if self._fresh:
            headers.setdefault("cache-control", "no-store")


def same_site(headers: Headers) -> bool:
    """Whether a request that changes something comes from our own page, or from no browser at all.

    Browsers say it in Sec-Fetch-Site, or (over plain http) in Origin; a form of another site cannot set the host's headers.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    hosts = {headers.get("host", ""), headers.get("x-forwarded-host", "").split(",")[0].strip()}
    return bool(urlsplit(origin).netloc) and urlsplit(origin).netloc in hosts


def too_large(limit: int) -> Response:
    """413 that says the limit; the rest of the body is not read."""
    answer = _no(413, f"this is larger than the limit of {(limit >> 20) - 1 or 1} MiB (APPLIANCE_UPLOAD_MIB)")
    answer.headers["connection"] = "close"
    return answer


def _no(status: int, detail: str) -> Response:
    return JSONResponse({"detail": detail}, status)
