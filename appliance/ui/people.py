"""The part of the System tab that is about people: users and roles, invitations, API tokens."""

from __future__ import annotations

import time
from typing import Any

import gradio as gr

from appliance.errors import ApplianceError
from appliance.store import audit, logins, users
from appliance.store.schema import ROLES
from appliance.store.users import Member
from appliance.ui.access import allowed
from appliance.ui.context import SILENT, Context

ADMIN = "admin"
USER_HEADERS = ["Name", "Role", "Since", "State"]


def moment(at: float) -> str:
    """A time in UTC as 2026-11-21 14:03:22."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))


def user_rows(members: list[Member], now: float) -> list[list[str]]:
    """The table of users."""
    return [[one.name, one.role, moment(one.created)[:10], standing(one, now)] for one in members]


def standing(one: Member, now: float) -> str:
    """Whether a user may sign in now."""
    if one.disabled:
        return "disabled"
    if one.locked_until > now:
        return f"locked until {moment(one.locked_until)} UTC: wrong passwords"
    return "active"


def join_link(request: gr.Request, token: str) -> str:
    """The address that an invitation opens, as the admin's own browser sees this site."""
    headers, scope = request.request.headers, request.request.scope
    scheme = headers.get("x-forwarded-proto", scope["scheme"]).split(",")[0].strip()
    host = headers.get("x-forwarded-host", headers.get("host", "")).split(",")[0].strip()
    return f"{scheme}://{host}{scope['appliance.prefix']}/join?token={token}"


def build(context: Context) -> None:
    """Users, invitations and tokens, inside the tab that is being built."""
    _tokens(context, _users(context))


def _users(context: Context) -> gr.Dropdown:
    store = context.store
    gr.Markdown("### Users\nAn admin may do everything; a trainer may train, compare and vote; a rater may only vote.")
    table = gr.Dataframe(headers=USER_HEADERS, interactive=False, elem_id="system-users", label="Users", wrap=True)
    with gr.Row():
        invited = gr.Dropdown(list(ROLES), value="rater", label="Role of the new user", elem_id="system-invite-role")
        invite = gr.Button("Make an invitation", variant="primary", elem_id="system-invite")
    link = gr.Textbox(
        label="Send this link to the new user. It is shown once and makes one account within 7 days.",
        buttons=["copy"],
        interactive=False,
        visible=False,
        elem_id="system-invite-link",
    )
    with gr.Row():
        picked = gr.Dropdown([], label="User to change", elem_id="system-user")
        role = gr.Dropdown(list(ROLES), value="trainer", label="New role", elem_id="system-user-role")
    password = gr.Textbox(
        label="New password", type="password", max_length=users.LONGEST, elem_id="system-user-password"
    )
    with gr.Row():
        set_role = gr.Button("Set the role", elem_id="system-user-set-role")
        set_password = gr.Button("Set the password", elem_id="system-user-set-password")
        shut = gr.Button("Disable", elem_id="system-user-disable")
        let_in = gr.Button("Enable, and lift a lock", elem_id="system-user-enable")
        delete = gr.Button("Delete", variant="stop", elem_id="system-user-delete")

    @allowed(ADMIN, quiet=True)
    def draw(member: Member) -> Any:
        return user_rows(users.everyone(store), store.clock())

    @allowed(ADMIN, quiet=True)
    def names(member: Member) -> Any:
        return gr.Dropdown([(one.name, one.id) for one in users.everyone(store)])

    @allowed(ADMIN)
    def make(member: Member, chosen: str, request: gr.Request) -> Any:
        token = users.invite(store, chosen)
        audit.record(store, member, "invite", chosen)
        return gr.Textbox(join_link(request, token), visible=True)

    def change(action: str, work: Any) -> Any:
        @allowed(ADMIN)
        def act(member: Member, user_id: int | None, value: str | None = None) -> Any:
            if user_id is None:
                raise ApplianceError("no user is chosen", "choose one under User to change")
            name = users.get(store, int(user_id)).name
            work(store, int(user_id), *(() if value is None else (value,)))
            audit.record(store, member, action, name)
            gr.Success(f"{name}: {action}.")
            return "" if action == "set password" else None

        return act

    context.draw(draw, outputs=table, every_s=10)
    context.draw(names, outputs=picked)
    private = {"api_visibility": "private"}
    context.after(invite.click(make, invited, link, **private))
    context.after(set_role.click(change("set role", users.set_role), [picked, role], None, **private))
    context.after(
        set_password.click(change("set password", users.set_password), [picked, password], password, **private)
    )
    for button, action, work in (
        (shut, "disable", lambda *a: users.set_disabled(*a, True)),
        (let_in, "enable", lambda *a: users.set_disabled(*a, False)),
        (delete, "delete user", users.remove),
    ):
        context.after(button.click(change(action, work), picked, None, **private))
    return picked


def _tokens(context: Context, picked: gr.Dropdown) -> None:
    store = context.store
    gr.Markdown("### API tokens\nFor programs (docs/api.md). A token has its user's role and works for a year.")
    with gr.Row():
        make = gr.Button("Make a token for the user chosen above", elem_id="system-token-make")
        listed = gr.Dropdown([], label="Token to withdraw", elem_id="system-token")
        drop = gr.Button("Withdraw", elem_id="system-token-drop")
    shown = gr.Textbox(
        label="The token. It is shown once.",
        buttons=["copy"],
        interactive=False,
        visible=False,
        elem_id="system-token-shown",
    )

    @allowed(ADMIN, quiet=True)
    def draw(member: Member) -> Any:
        owners = {one.id: one.name for one in users.everyone(store)}
        tokens = logins.api_tokens(store)
        names = [
            (f"{owners.get(one.user_id, '?')}, made {moment(one.created)[:10]}, {one.id}", one.id) for one in tokens
        ]
        return gr.Dropdown(names, value=None)

    @allowed(ADMIN)
    def create(member: Member, user_id: int | None) -> Any:
        if user_id is None:
            raise ApplianceError("no user is chosen", "choose one under User to change")
        owner = users.get(store, int(user_id))
        if owner.role == "rater":
            raise ApplianceError("a rater has nothing to do in the API", "choose a trainer or an admin")
        token = logins.make_api_token(store, owner.id)
        audit.record(store, member, "make API token", owner.name)
        return gr.Textbox(token, visible=True)

    @allowed(ADMIN)
    def withdraw(member: Member, token_id: str | None) -> Any:
        if not token_id:
            raise ApplianceError("no token is chosen", "choose one under Token to withdraw")
        logins.drop_api_token(store, token_id)
        audit.record(store, member, "withdraw API token", token_id)
        gr.Success("The token works no more.")

    context.draw(draw, outputs=listed)
    make.click(create, picked, shown, api_visibility="private").then(draw, None, listed, **SILENT)
    drop.click(withdraw, listed, None, api_visibility="private").then(draw, None, listed, **SILENT)
