"""Everything that the page calls and every route, as each role: nothing is without roles, and nobody gets further than theirs."""

import asyncio
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import gradio as gr
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.routing import Mount

from appliance.settings import read
from appliance.store import logins, users
from appliance.store.db import open_store
from appliance.store.schema import ROLES
from appliance.ui.access import COOKIE
from appliance.ui.app import build
from appliance.ui.gate import PUBLIC

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    settings = read({"APPLIANCE_DATA": str(tmp_path_factory.mktemp("data"))})
    store = open_store(settings)
    for role in ROLES:
        users.add(store, role, PASSWORD, role)

    async def made():  # in a loop, so that Gradio does not leave one of its own behind
        return build(settings, store=store)

    # In a thread of its own: a browser of another test file keeps a loop running in this one.
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(asyncio.run, made()).result()
    store.close()


def handlers(app):
    """(page, name, Gradio's entry) of everything that the page can call."""
    found = [
        (path, fn.fn.__qualname__ if fn.fn else None, fn)
        for path, blocks in app.state.pages.items()
        for fn in blocks.fns.values()
    ]
    assert len(found) > 8
    return [one for one in found if one[1] is not None]


def own_routes(app):
    found = [route for route in iter_route_contexts(app.routes) if isinstance(route.original_route, APIRoute)]
    assert len(found) > 20
    return found


def roles_of(route):
    for dependency in route.dependant.dependencies:
        if hasattr(dependency.call, "roles"):
            return dependency.call.roles
    return None


def test_every_handler_says_who_may_call_it(app):
    assert not [f"{path} {name}" for path, name, fn in handlers(app) if not hasattr(fn.fn, "roles")]


def test_the_raters_page_offers_nothing_that_raters_may_not_call_but_shows(app):
    named = {name for path, name, fn in handlers(app) if path == "/vote" and "rater" in getattr(fn.fn, "roles", ())}
    assert named


def said(handler, arguments, request):
    """The words of the refusal; None where a drawing leaves the page as it is."""
    try:
        result = handler(request, *arguments)
        result = result if isinstance(result, dict) else next(result)
    except gr.Error as error:
        return error.message.partition(";")[0].partition(".")[0]
    return None if result == gr.skip() else f"it ran: {result}"


REFUSALS = {
    None: {"You are not signed in"},
    "rater": {"This is for admin or trainer", "This is for admin"},
    "trainer": {"This is for admin"},
    "admin": set(),
}


@pytest.mark.parametrize("role", [None, *ROLES])
def test_no_handler_runs_for_a_role_that_it_does_not_name(app, role):
    desk = app.state.desk
    cookie = "x" if role is None else logins.sign_in(desk.store, role, PASSWORD)
    scope = {"type": "http", "headers": [(b"cookie", f"{COOKIE}={cookie}".encode())], "appliance": desk}
    request = gr.Request(request=Request(scope))
    tried = 0
    for _, name, fn in handlers(app):
        if not hasattr(fn.fn, "roles") or role in fn.fn.roles:  # one without roles fails another test
            continue
        tried += 1
        arguments = [None] * (len(fn.fn.__signature__.parameters) - 1)
        assert said(fn.fn, arguments, request) in (None, *REFUSALS[role]), name
    assert tried or role == "admin"


def test_every_route_of_ours_is_public_by_name_or_says_who_may_use_it(app):
    bare = [route.path for route in own_routes(app) if roles_of(route) is None and not PUBLIC.fullmatch(route.path)]
    assert not bare
    public = {route.path for route in own_routes(app) if PUBLIC.fullmatch(route.path)}
    assert public == {"/healthz", "/readyz", "/login", "/logout", "/join", "/own/style.css", "/own/help"}


def filled(path):
    """A path with its parameters filled in."""
    return re.sub(r"{[^}]*}", "1", path)


@pytest.mark.parametrize("role", [None, *ROLES])
def test_no_route_of_ours_answers_a_role_that_it_does_not_name(app, site, role):
    client = site.client(role)
    refused = 401 if role is None else 403
    for route in own_routes(app):
        roles = roles_of(route)
        if roles is None or role in roles:
            continue
        for method in route.methods:
            answer = client.request(method, filled(route.path), json={})
            assert answer.status_code == refused, f"{method} {route.path}: {answer.status_code} {answer.text[:200]}"


def gradio_routes(app):
    """(path, methods) of everything that Gradio offers at both places."""
    found = []
    for mount in app.routes:
        if isinstance(mount, Mount):
            for route in iter_route_contexts(mount.app.routes):
                path = getattr(route, "path", "")
                for part in ("{path:path}", "{path_or_url:path}", "{url_path:path}"):
                    path = path.replace(part, "etc/passwd")
                found.append((mount.path + filled(path), getattr(route, "methods", None) or {"GET"}))
    assert len(found) > 100
    return found


@pytest.mark.parametrize("role", [None, "rater"])
def test_gradios_routes_are_closed_to_those_who_may_not_see_the_page(app, site, role):
    client = site.client(role)
    for path, methods in gradio_routes(app):
        if PUBLIC.fullmatch(path) or (role and path.startswith("/vote")):
            continue
        for method in methods - {"HEAD", "OPTIONS"}:
            answer = client.request(method, path, json={})
            assert answer.status_code == (401 if role is None else 403), f"{method} {path}: {answer.status_code}"


OPEN = {"", "config", "theme.css", "manifest.json", "svelte/etc/passwd"}
CALLS = ("startup-events", "heartbeat/1", "queue/join", "queue/data", "upload", "upload_progress", "cancel", "reset")


def test_gradios_routes_that_the_page_does_not_need_are_closed_to_all(app, site):
    client = site.client("admin")
    for path, methods in gradio_routes(app):
        inner = path.removeprefix("/vote").lstrip("/")
        needed = inner in OPEN or inner.removeprefix("gradio_api/").rstrip("/") in (*CALLS, "app_id", "info")
        if PUBLIC.fullmatch(path) or needed:
            continue
        for method in methods - {"HEAD", "OPTIONS"}:
            answer = client.request(method, path, json={}, follow_redirects=False)
            assert answer.status_code in (303, 404), f"{method} {path}: {answer.status_code}"


def call(client, path, index, data):
    """What Gradio's queue answers to a raw call: the last message of the stream."""
    join = client.post(f"{path}gradio_api/queue/join", json={"fn_index": index, "data": data, "session_hash": "s1"})
    if join.status_code != 200:
        return join.status_code
    last = None
    with client.stream("GET", f"{path}gradio_api/queue/data", params={"session_hash": "s1"}) as stream:
        for line in stream.iter_lines():
            if line.startswith("data:"):
                message = json.loads(line[5:])
                if message["msg"] == "process_completed":
                    last = message
    return last


def test_a_raw_call_of_an_admins_handler_by_a_trainer_does_nothing(app, site):
    client, tried = site.client("trainer"), 0
    for path, _, fn in handlers(app):
        if path != "/" or getattr(fn.fn, "roles", None) != {"admin"} or not fn.queue:
            continue
        tried += 1
        answer = call(client, "/", fn._id, [None] * len(fn.inputs))
        assert isinstance(answer, int) or not answer["success"] or "__type__" in str(answer["output"]), answer
    for role, status in (("rater", 403), (None, 401)):
        assert call(site.client(role), "/", 0, []) == status


def test_neither_building_nor_showing_the_page_loads_torch(tmp_path):
    program = """
import sys
from fastapi.testclient import TestClient
from appliance.settings import read
from appliance.store import logins, users
from appliance.store.db import open_store
from appliance.ui.app import build
settings = read({"APPLIANCE_DATA": sys.argv[1]})
store = open_store(settings)
users.add(store, "admin", "correct horse battery", "admin")
app = build(settings, store=store)
with TestClient(app) as client:
    client.cookies.set("appliance_session", logins.sign_in(store, "admin", "correct horse battery"))
    assert client.get("/").status_code == client.get("/vote/").status_code == 200
    for index, fn in app.state.pages["/"].fns.items():
        if fn.fn is not None and not fn.queue:
            data = {"fn_index": index, "data": [None] * len(fn.inputs), "session_hash": "s"}
            answer = client.post("/gradio_api/run/predict", json=data)
            assert answer.status_code == 200, (fn.fn, answer.text)
print([name for name in ("torch", "transformers", "trl", "peft", "datasets") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
