"""Signing in and out, joining by invitation, the account: plain pages with one form each, that need no program."""

from __future__ import annotations

import html
from typing import Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from appliance.errors import ApplianceError
from appliance.store import audit, logins, users
from appliance.store.users import Member
from appliance.ui.access import COOKIE, EVERYONE, desk_of, require, sentence
from appliance.ui.theme import FORMS

router = APIRouter()
Text = Annotated[str, Form(max_length=1024)]


def card(
    request: Request, title: str, body: str, *, error: str = "", status: int = 200, wide: bool = False
) -> HTMLResponse:
    """A page of ours. `body` is HTML; title and error are text."""
    alert = f'<p role="alert">{html.escape(error)}</p>' if error else ""
    style = f"{prefix_of(request)}/own/style.css"
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f'<link rel="stylesheet" href="{style}"></head>'
        f"<body><main{' class=wide' if wide else ''}><h1>{html.escape(title)}</h1>{alert}{body}</main></body></html>",
        status,
    )


def prefix_of(request: Request) -> str:
    """The path below which a proxy publishes us, or nothing."""
    return request.scope["appliance.prefix"]


def field(name: str, label: str, kind: str, complete: str, value: str = "") -> str:
    """A labelled input."""
    return (
        f'<label for="{name}">{label}</label><input id="{name}" name="{name}" type="{kind}" autocomplete="{complete}" '
        f'value="{html.escape(value)}" required maxlength="256">'
    )


def safe_next(path: str, prefix: str) -> str:
    """Where to go after signing in: a path of this site, or its first page."""
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path and "\n" not in path
    return path if inside and path.isprintable() else f"{prefix}/"


def _login_form(request: Request, onward: str, error: str = "", name: str = "", status: int = 200) -> HTMLResponse:
    action = f"{prefix_of(request)}/login?next={quote(onward, safe='')}"
    body = (
        f'<form method="post" action="{action}">{field("name", "Name", "text", "username", name)}'
        f"{field('password', 'Password', 'password', 'current-password')}<button>Sign in</button></form>"
    )
    return card(request, "Sign in", body, error=error, status=status)


@router.get("/login")
def login_page(request: Request, next: str = "") -> Response:
    """The sign-in form."""
    return _login_form(request, safe_next(unquote(next), prefix_of(request)))


@router.post("/login")
def login(request: Request, name: Text, password: Text, next: str = "") -> Response:
    """Check a name and a password; a right one gets a fresh cookie."""
    desk, onward = desk_of(request), safe_next(unquote(next), prefix_of(request))
    address = request.client.host if request.client else ""
    try:
        desk.throttle.check(address)
        token = logins.sign_in(desk.store, name, password)
    except logins.SignInRefused as refused:
        desk.throttle.wrong(address)
        audit.record(desk.store, None, "sign-in refused", name[:64], {"address": address})
        return _login_form(request, onward, f"{sentence(refused.what)} {sentence(refused.fix)}", name[:64], 403)
    return signed_in(request, token, onward)


def signed_in(request: Request, token: str, onward: str) -> Response:
    """On to the page, with a fresh cookie; the one that the browser had before is worth nothing any more."""
    desk = desk_of(request)
    if old := request.cookies.get(COOKIE):
        logins.sign_out(desk.store, old)
    audit.record(desk.store, logins.who(desk.store, token), "sign in")
    answer = RedirectResponse(onward, 303)
    set_cookie(answer, request, token)
    return answer


def set_cookie(answer: Response, request: Request, token: str) -> None:
    """The session cookie: not for scripts, not for other sites, over https only where this is https."""
    answer.set_cookie(
        COOKIE,
        token,
        max_age=int(logins.LONGEST_S),
        path=f"{prefix_of(request)}/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


@router.post("/logout")
def logout(request: Request) -> Response:
    """Sign this browser out."""
    desk = desk_of(request)
    if token := request.cookies.get(COOKIE):
        if member := logins.who(desk.store, token):
            audit.record(desk.store, member, "sign out")
        logins.sign_out(desk.store, token)
    answer = RedirectResponse(f"{prefix_of(request)}/login", 303)
    answer.delete_cookie(COOKIE, path=f"{prefix_of(request)}/", httponly=True, samesite="strict")
    return answer


def _join_form(request: Request, token: str, role: str, error: str = "", name: str = "", status: int = 200) -> Response:
    body = (
        f"<p>This makes your account. Your role: {html.escape(role)}.</p>"
        f'<form method="post" action="{prefix_of(request)}/join">'
        f'<input type="hidden" name="token" value="{html.escape(token)}">'
        f"{field('name', 'Name', 'text', 'username', name)}"
        f"{field('password', f'Password, {users.SHORTEST} characters or more', 'password', 'new-password')}"
        f"{field('again', 'The password again', 'password', 'new-password')}<button>Make the account</button></form>"
    )
    return card(request, "Join", body, error=error, status=status)


@router.get("/join")
def join_page(request: Request, token: str = "") -> Response:
    """The form that an invitation opens."""
    role = users.invited_role(desk_of(request).store, token[:256])
    if role is None:
        return card(
            request,
            "Join",
            "",
            error="This invitation was used or has run out. Ask an admin for a new one.",
            status=410,
        )
    return _join_form(request, token[:256], role)


@router.post("/join")
def join(request: Request, token: Text, name: Text, password: Text, again: Text) -> Response:
    """Make the account of an invitation, and sign in."""
    desk = desk_of(request)
    role = users.invited_role(desk.store, token)
    if role is None:
        return join_page(request, token)
    if password != again:
        return _join_form(request, token, role, "The two passwords differ. Type them again.", name[:64], 400)
    try:
        member = users.join(desk.store, token, name, password)
    except ApplianceError as error:
        return _join_form(request, token, role, f"{sentence(error.what)} {sentence(error.fix)}", name[:64], 400)
    audit.record(desk.store, member, "join", member.name, {"role": member.role})
    return signed_in(request, logins.start_session(desk.store, member.id), f"{prefix_of(request)}/")


def _account_form(request: Request, member: Member, error: str = "", status: int = 200) -> Response:
    here = prefix_of(request)
    body = (
        f"<p>{html.escape(member.name)}, {html.escape(member.role)}. <a href='{here}/'>Back to the page</a></p>"
        f'<form method="post" action="{here}/account">'
        f"{field('old', 'Present password', 'password', 'current-password')}"
        f"{field('new', f'New password, {users.SHORTEST} characters or more', 'password', 'new-password')}"
        f"{field('again', 'The new password again', 'password', 'new-password')}<button>Change the password</button></form>"
        f'<form method="post" action="{here}/logout"><button>Sign out</button></form>'
    )
    return card(request, "Account", body, error=error, status=status)


@router.get("/account")
def account_page(request: Request, member: Annotated[Member, Depends(require(*EVERYONE))]) -> Response:
    """Who is signed in, and a new password."""
    return _account_form(request, member)


@router.post("/account")
def account(
    request: Request, member: Annotated[Member, Depends(require(*EVERYONE))], old: Text, new: Text, again: Text
) -> Response:
    """Change one's password: every other browser and API token of this user is signed out."""
    desk = desk_of(request)
    if new != again:
        return _account_form(request, member, "The two new passwords differ. Type them again.", 400)
    address = request.client.host if request.client else ""
    try:
        desk.throttle.check(address)
        users.change_password(desk.store, member.id, old, new)
    except ApplianceError as error:
        desk.throttle.wrong(address)
        return _account_form(request, member, f"{sentence(error.what)} {sentence(error.fix)}", 400)
    audit.record(desk.store, member, "change password")
    return signed_in(request, logins.start_session(desk.store, member.id), f"{prefix_of(request)}/")


@router.get("/own/style.css")
def style() -> Response:
    """The style of these pages."""
    return PlainTextResponse(FORMS, media_type="text/css", headers={"cache-control": "max-age=3600"})
