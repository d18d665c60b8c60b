"""The whole site as one FastAPI application: health, sign-in, downloads, the API, and Gradio's two pages."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError

from appliance.errors import ApplianceError
from appliance.settings import Settings
from appliance.store import workers
from appliance.store.db import Store, open_store
from appliance.store.logins import Throttle
from appliance.ui import api, downloads, forms, help, page, pulse, theme
from appliance.ui.access import plain
from appliance.ui.desk import Desk, Uploads
from appliance.ui.gate import Gate

INCOMING = "incoming"
"""Folder of the data folder into which Gradio writes uploads until a tab takes them."""


def build(settings: Settings, *, store: Store | None = None, prefix: str = "") -> FastAPI:
    """The application. `prefix`: the path below which a proxy publishes it, such as /rlhf. Raises ApplianceError."""
    store = store or open_store(settings)
    uploads = Uploads((settings.data / INCOMING).absolute())
    uploads.clear()
    os.environ["GRADIO_TEMP_DIR"] = str(uploads.folder)
    desk = Desk(store, settings, uploads, Throttle(store.clock), prefix.rstrip("/"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    app = FastAPI(title=page.NAME, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.desk = desk
    app.add_middleware(
        CORSMiddleware, allow_origins=[]
    )  # no other site may read anything; Gradio's own rules step back
    app.add_middleware(Gate, desk=desk)
    _errors(app)
    _health(app, desk)
    app.include_router(forms.router)
    app.include_router(help.router)
    app.include_router(api.router)
    app.include_router(downloads.router(desk))
    app.include_router(pulse.router(desk))
    app.state.pages = {"/vote": page.build_vote_page(desk), "/": page.build_page(desk)}
    for path, blocks in app.state.pages.items():
        mount(app, blocks, path, settings)
    return app


def mount(app: FastAPI, blocks: gr.Blocks, path: str, settings: Settings) -> None:
    """Gradio at a path: our user, our look, nothing that leaves the machine."""
    gr.mount_gradio_app(
        app,
        blocks,
        path,
        auth_dependency=lambda request: getattr(request.scope.get("appliance.member"), "name", None),
        show_error=False,
        run_history=False,
        max_file_size=settings.upload_mib << 20,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        pwa=False,
        footer_links=[],
        theme=theme.theme(),
        css=theme.CSS,
        head=theme.HEAD + pulse.SCRIPT,
    )


def _errors(app: FastAPI) -> None:
    @app.exception_handler(ApplianceError)
    def told(request: Request, error: ApplianceError) -> JSONResponse:
        return JSONResponse({"detail": error.what, "fix": error.fix}, 400)

    @app.exception_handler(Exception)
    def hidden(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": plain(error)}, 500)


def _health(app: FastAPI, desk: Desk) -> None:
    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        try:
            alive = workers.heard_of(desk.store)
        except SQLAlchemyError:
            return JSONResponse({"status": "the store does not answer", "store": False}, 503)
        age = min((abs(desk.store.clock() - worker.heartbeat) for worker in alive), default=None)
        return JSONResponse(
            {
                "status": "ready",
                "store": True,
                "worker": "alive" if alive else "missing",
                "worker_heartbeat_s": None if age is None else round(age, 1),
            }
        )
