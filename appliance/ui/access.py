"""Who may do what: `allowed` for what the page calls, `require` for routes. Both ask the store at every call.

A handler says its roles where it is defined and takes the user as its first argument:

    @allowed("trainer", "admin")
    def start(member, name, steps):          # inputs=[name, steps]
        return f"{member.name} started {name}"

The user comes from the session cookie, never from what the page sends. Gradio's own arguments (`gr.Request`,
`gr.SelectData`, ...) may follow, by annotation. A test walks over everything that the page and the routes offer and
fails for what has no roles.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr
from fastapi import HTTPException, Request

from appliance.errors import ApplianceError
from appliance.store import logins
from appliance.store.schema import ROLES
from appliance.store.users import Member
from appliance.ui.desk import Desk

COOKIE = "appliance_session"
EVERYONE = ROLES

log = logging.getLogger("appliance.ui")


class Refused(ApplianceError):
    """Nobody is signed in, or their role is not enough."""


def _checked(roles: tuple[str, ...]) -> frozenset[str]:
    if not roles or not set(roles) <= set(ROLES):
        raise TypeError(f"roles {roles}: name one or more of {', '.join(ROLES)}")
    return frozenset(roles)


def desk_of(request: gr.Request | Request) -> Desk:
    """The serving process's store and settings, from the request's scope."""
    inner = request.request if isinstance(request, gr.Request) else request
    return inner.scope["appliance"]


def member_of(request: gr.Request | Request) -> Member | None:
    """Who is signed in, as the store says now: a queued call may run after a sign-out."""
    inner = request.request if isinstance(request, gr.Request) else request
    if inner is None:
        return None
    return logins.who(inner.scope["appliance"].store, inner.cookies.get(COOKIE))


def _permitted(request: gr.Request, roles: frozenset[str]) -> Member:
    member = member_of(request)
    if member is None:
        raise Refused("you are not signed in", "load the page again and sign in")
    if member.role not in roles:
        raise Refused(f"this is for {' or '.join(sorted(roles))}; you are signed in as {member.role}", "ask an admin")
    return member


def plain(error: Exception) -> str:
    """What a user is told of an error: what and fix of ours; of a bug, only a number that finds it in the log."""
    if isinstance(error, ApplianceError):
        return f"{sentence(error.what)} {sentence(error.fix)}"
    number = secrets.token_hex(4)
    log.error("error %s\n%s", number, "".join(traceback.format_exception(error)))
    return f"Something went wrong ({number}). Try again; if it stays, give this number to an admin: it is in the log."


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")


def allowed(*roles: str, quiet: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates what the page calls: only these roles, and no error but a sentence.

    An error becomes a toast; with `quiet` (for what draws every few seconds) the page keeps what it shows, and the error
    goes to the log. Generator functions stay generators.
    """
    permitted = _checked(roles)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function.__name__}: handlers are plain functions, which Gradio runs in threads")
        signature, hints = _for_gradio(function)

        def refuse(error: Exception) -> Any:
            message = plain(error)
            if quiet:
                if isinstance(error, ApplianceError):
                    log.warning("%s: %s", function.__name__, message)
                return gr.skip()
            raise gr.Error(message, title="Not done", print_exception=False) from None

        def call(request: Any, *given: Any) -> Any:
            try:
                return function(_permitted(request, permitted), *given)
            except gr.Error:
                raise
            except Exception as error:  # the page's edge: nobody is shown a traceback
                return refuse(error)

        def stream(request: Any, *given: Any) -> Iterator[Any]:
            try:
                yield from function(_permitted(request, permitted), *given)
            except gr.Error:
                raise
            except Exception as error:  # the page's edge
                yield refuse(error)

        outer = stream if inspect.isgeneratorfunction(function) else call
        functools.update_wrapper(outer, function)
        outer.__signature__ = signature  # type: ignore[attr-defined]
        outer.__annotations__ = hints
        outer.roles = permitted  # type: ignore[attr-defined]
        return outer

    return decorate


def _for_gradio(function: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, Any]]:
    """The signature that Gradio sees: the request in place of the member; and its annotations as classes.

    The inputs may end with *more. Raises TypeError, with the handler's name, for a handler that cannot be called so.
    """
    member, *rest = inspect.signature(function).parameters.values() or (None,)
    if member is None or member.kind not in (member.POSITIONAL_ONLY, member.POSITIONAL_OR_KEYWORD):
        raise TypeError(
            f"{function.__qualname__}: a handler takes the member first: def {function.__name__}(member, ...)"
        )
    for parameter in rest:
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{function.__qualname__}: Gradio gives inputs by their place, so {parameter} gets none: name the inputs "
                "one by one, or end with *values"
            )
    hints: dict[str, Any] = {}
    for parameter in rest:
        kind = parameter.annotation
        if isinstance(kind, str):
            kind = {f"gr.{c.__name__}": c for c in (gr.Request, gr.SelectData, gr.EventData)}.get(kind, Any)
        if isinstance(kind, type) and issubclass(kind, gr.Request | gr.EventData):
            hints[parameter.name] = kind
    first = inspect.Parameter("_request", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=gr.Request)
    parameters = [p.replace(annotation=hints.get(p.name, inspect.Parameter.empty)) for p in rest]
    return inspect.Signature([first, *parameters]), {"_request": gr.Request} | hints


def require(*roles: str) -> Callable[[Request], Member]:
    """A FastAPI dependency: the member, if their role is one of these; 401 or 403 with a sentence otherwise.

    Reads what the gate found: the cookie's user, or below /api and /download an API token's.
    """
    permitted = _checked(roles)

    def dependency(request: Request) -> Member:
        member = request.scope.get("appliance.member")
        if member is None:
            raise HTTPException(401, "sign in first")
        if member.role not in permitted:
            raise HTTPException(
                403, f"this is for {' or '.join(sorted(permitted))}; you are signed in as {member.role}"
            )
        return member

    dependency.roles = permitted  # type: ignore[attr-defined]
    return dependency
