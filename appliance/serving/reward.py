"""A reward source as a server: POST /score, GET /healthz, GET /metrics.

POST /score takes {"prompts": [...], "responses": [...]}, two lists of as many texts, and answers {"scores": [...]}. Anything
else is answered with {"error": "..."} and a status: 401 token, 413 too much, 422 not understood, 500 the model failed, 503 busy.
"""

import asyncio
import hmac
import json
import signal
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from appliance.errors import ApplianceError
from appliance.ppo.types import ScoreFn
from appliance.serving.counters import CONTENT_TYPE, Counters
from appliance.serving.scorer import Busy, Scorer

GRACE_S = 30
"""Requests that are under way at SIGTERM have this long to be answered."""

QUEUED = 16
"""Full requests that may wait; one more is told to come again."""


@dataclass(frozen=True)
class Limits:
    """What one request may hold, and how many texts the model reads at a time."""

    texts: int
    characters: int  # of a prompt with its response
    body_mib: int
    batch: int


class Refused(Exception):
    """A request that is not scored, with the status that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def make_app(
    source: ScoreFn, *, name: str, limits: Limits, token: str | None, notice: Callable[[str], None]
) -> FastAPI:
    """The server's application, with a model thread that runs until shutdown.

    With `token`, /score wants `Authorization: Bearer TOKEN`; /healthz and /metrics tell nothing of the texts, and do not.
    """
    counters = Counters()
    scorer = Scorer(source, batch=limits.batch, waiting=QUEUED * limits.texts, counters=counters, notice=notice)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scorer.close)

    app = FastAPI(title="reward", lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.scorer = scorer

    @app.post("/score")
    async def score(request: Request) -> Response:
        try:
            _authorize(request, token)
            prompts, responses = _texts(await _body(request, limits.body_mib * 2**20), limits)
            try:
                scores = await asyncio.wrap_future(scorer.submit(prompts, responses))
            except Busy:
                raise Refused(503, "busy: too many texts are waiting; try again") from None
            except Exception as error:
                notice("".join(traceback.format_exception(error)))
                told = error.what if isinstance(error, ApplianceError) else type(error).__name__
                raise Refused(500, f"the model failed: {told}") from None
        except Refused as refused:
            counters.add("errors_total")
            counters.add("requests_total", status=refused.status)
            headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(refused.status)
            return JSONResponse({"error": refused.message}, status_code=refused.status, headers=headers)
        counters.add("requests_total", status=200)
        return JSONResponse({"scores": scores})

    @app.get("/healthz")
    async def healthz() -> Response:
        alive = scorer.thread.is_alive()
        return JSONResponse({"status": "ok" if alive else "dead", "model": name}, status_code=200 if alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(counters.text(), media_type=CONTENT_TYPE)

    return app


def _authorize(request: Request, token: str | None) -> None:
    given = request.headers.get("authorization", "")
    if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
        raise Refused(401, "the header `Authorization: Bearer TOKEN` is missing or holds another token")


async def _body(request: Request, limit: int) -> bytes:
    """The request's body. Raises Refused as soon as it is over the limit, without reading the rest."""
    told = request.headers.get("content-length", "")
    size, pieces = 0, []
    too_large = Refused(413, f"the request is larger than {limit // 2**20} MiB; send fewer texts at a time")
    if told.isdecimal() and int(told) > limit:
        raise too_large
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise too_large
        pieces.append(piece)
    return b"".join(pieces)


def _texts(body: bytes, limits: Limits) -> tuple[list[str], list[str]]:
    """Prompts and responses. Raises Refused for what is not two equal lists of texts within the limits."""
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(422, 'the request is not JSON; send {"prompts": [...], "responses": [...]}') from None
    if not isinstance(content, dict) or content.keys() != {"prompts", "responses"}:
        raise Refused(422, "the request must have the keys prompts and responses, and no others")
    for key, values in content.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise Refused(422, f"{key} must be a list of texts")
    prompts, responses = content["prompts"], content["responses"]
    if len(prompts) != len(responses):
        raise Refused(422, f"there are {len(prompts)} prompts and {len(responses)} responses; send as many of both")
    if len(prompts) > limits.texts:
        raise Refused(413, f"{len(prompts)} texts in one request; send at most {limits.texts}")
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) + len(response) > limits.characters:
            raise Refused(
                413,
                f"text {row} has {len(prompt) + len(response)} characters with its prompt; at most {limits.characters}",
            )
        if any("\ud800" <= character <= "\udfff" for character in prompt + response):
            raise Refused(422, f"text {row} holds half of a surrogate pair, which is no character")
    return prompts, responses


def bound(host: str, port: int) -> socket.socket:
    """A socket at that address that does not listen yet: clients are refused until the model is there. 0: any free port.

    Raises ApplianceError when the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except (OSError, OverflowError) as error:
        made.close()
        raise ApplianceError(
            f"{host} port {port} cannot be had: {error}", "choose another --port, or end the program that listens there"
        ) from None
    return made


class _Server(uvicorn.Server):
    """Says where it listens when it does."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready()


def serve(app: FastAPI, place: socket.socket, *, ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or Ctrl-C, then finish what is under way. `ready` is called once requests are taken."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # uvicorn sends itself the signal again at its end: all is done then
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,
    )
    _Server(config, ready).run(sockets=[place])


def told(text: str) -> None:
    """A line for whoever started the server."""
    print(text, file=sys.stderr, flush=True)
