"""Serving the application with uvicorn, and what is said at its start."""

from __future__ import annotations

import logging
import signal
import socket

import uvicorn

from appliance.errors import ConfigError
from appliance.settings import Settings
from appliance.store import users
from appliance.store.db import open_store
from appliance.ui.app import build

log = logging.getLogger("appliance.ui")

GRACE_S = 5
"""Open streams are cut after this long when the server is told to stop."""


def address(host: str, port: int, prefix: str = "") -> str:
    """The address of the page as a person on this machine types it."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}{prefix.rstrip('/')}"


def invitation(settings: Settings, role: str) -> str:
    """A token that makes one account of this role."""
    store = open_store(settings)
    try:
        return users.invite(store, role)
    finally:
        store.close()


def run(settings: Settings, *, host: str, port: int, prefix: str = "", proxy: str = "127.0.0.1") -> None:
    """Serve until SIGINT or SIGTERM. Raises ApplianceError for a store, a password file or a port that cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for name in ("httpx", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    listening = _listen(host, port)  # first: a second server must not empty the folders of the one that runs
    store = open_store(settings)
    token = users.first_admin(store, settings.admin_password_file)
    where = address(host, port, prefix)
    if token is not None:
        log.warning(
            "no user yet: make the first admin's account with this link, once:\n  %s/join?token=%s", where, token
        )
    config = uvicorn.Config(
        build(settings, store=store, prefix=prefix),
        forwarded_allow_ips=proxy,
        proxy_headers=True,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=GRACE_S,
        ws="none",
    )
    log.info("the page: %s", where)
    # uvicorn raises the signal again once it has shut down: that is the end we want, with exit code 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """The bound socket. Raises ConfigError when the address is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # with the protocol named, asyncio turns Nagle's algorithm off; else every answer waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}:{port} cannot be listened on: {error.strerror}", "choose another --port, or stop what uses it"
        ) from None
    listening.set_inheritable(True)
    return listening
