"""What the page's handlers are wrapped in: the member comes from the store, errors become sentences."""

import logging

import gradio as gr
import pytest
from gradio.helpers import special_args
from starlette.requests import Request

from appliance.errors import ConfigError
from appliance.settings import read
from appliance.store import logins, users
from appliance.store.db import open_store
from appliance.store.logins import Throttle
from appliance.ui.access import COOKIE, allowed, require
from appliance.ui.desk import Desk, Uploads

PASSWORD = "correct horse battery"


@pytest.fixture
def desk(tmp_path):
    settings = read({"APPLIANCE_DATA": str(tmp_path / "data")})
    store = open_store(settings)
    users.add(store, "anna", PASSWORD, "admin")
    users.add(store, "tom", PASSWORD, "trainer")
    yield Desk(store, settings, Uploads(tmp_path / "incoming"), Throttle(store.clock))
    store.close()


@pytest.fixture
def asking(desk):
    """asking("tom"): a request with the cookie of a fresh sign-in."""

    def make(name=None):
        cookie = "" if name is None else f"{COOKIE}={logins.sign_in(desk.store, name, PASSWORD)}"
        scope = {"type": "http", "headers": [(b"cookie", cookie.encode())], "appliance": desk, "query_string": b"run=3"}
        return gr.Request(request=Request(scope))

    return make


def as_gradio(handler, inputs, request, event=None):
    """Call a handler the way Gradio does."""
    arguments, *_ = special_args(handler, list(inputs), request, event)
    return handler(*arguments)


def test_a_handler_gets_the_member_and_its_inputs(asking):
    @allowed("trainer", "admin")
    def start(member, name, steps=3):
        return f"{member.name} {member.role} {name} {steps}"

    assert as_gradio(start, ["x", 5], asking("tom")) == "tom trainer x 5"
    assert as_gradio(start, ["x"], asking("anna")) == "anna admin x 3"
    assert start.roles == {"trainer", "admin"}


def test_gradios_own_arguments_come_by_annotation(asking):
    @allowed("trainer")
    def look(member, name, request: gr.Request, event: "gr.SelectData"):
        return request.query_params["run"], event.index, name

    event = gr.EventData(None, {"index": 7, "value": "v"})
    assert as_gradio(look, ["x"], asking("tom"), event) == ("3", 7, "x")


@pytest.mark.parametrize(
    ("name", "said"), [(None, "You are not signed in"), ("tom", "This is for admin; you are signed in as trainer")]
)
def test_others_are_told_why_not_and_nothing_runs(asking, name, said):
    ran = []

    @allowed("admin")
    def remove(member):
        ran.append(member)

    with pytest.raises(gr.Error, match=said):
        as_gradio(remove, [], asking(name))
    assert not ran


def test_the_store_is_asked_at_every_call(desk, asking):
    @allowed("trainer", "admin")
    def act(member):
        return member.role

    request = asking("tom")
    assert as_gradio(act, [], request) == "trainer"
    tom = next(user for user in users.everyone(desk.store) if user.name == "tom")
    users.set_role(desk.store, tom.id, "admin")
    assert as_gradio(act, [], request) == "admin"
    users.set_disabled(desk.store, tom.id, True)
    with pytest.raises(gr.Error, match="not signed in"):
        as_gradio(act, [], request)


def test_an_error_for_the_user_becomes_what_and_fix(asking):
    @allowed("trainer")
    def start(member):
        raise ConfigError("minibatch 12 does not divide 64", "use 8 or 16")

    with pytest.raises(gr.Error) as error:
        as_gradio(start, [], asking("tom"))
    assert error.value.message == "Minibatch 12 does not divide 64. Use 8 or 16."


def test_a_bug_becomes_a_number_that_finds_the_traceback_in_the_log(asking, caplog):
    @allowed("trainer")
    def start(member):
        return {}["the secret key"]

    with pytest.raises(gr.Error) as error, caplog.at_level(logging.ERROR, "appliance.ui"):
        as_gradio(start, [], asking("tom"))
    number = error.value.message.partition("(")[2].partition(")")[0]
    assert len(number) == 8
    assert "secret" not in error.value.message
    assert f"error {number}" in caplog.text
    assert "KeyError: 'the secret key'" in caplog.text


def test_a_quiet_drawing_that_fails_leaves_the_page_as_it_is(asking, caplog):
    @allowed("trainer", quiet=True)
    def draw(member):
        raise ValueError("x")

    with caplog.at_level(logging.ERROR, "appliance.ui"):
        assert as_gradio(draw, [], asking("tom")) == gr.skip()
    assert "ValueError: x" in caplog.text
    assert as_gradio(draw, [], asking()) == gr.skip()


def test_a_stream_checks_before_its_first_value(asking):
    @allowed("trainer")
    def stream(member):
        yield "one"
        raise ConfigError("it broke", "mend it")

    values = as_gradio(stream, [], asking("tom"))
    assert next(values) == "one"
    with pytest.raises(gr.Error, match=r"It broke\. Mend it\."):
        next(values)
    with pytest.raises(gr.Error, match="not signed in"):
        next(as_gradio(stream, [], asking()))


def test_roles_that_do_not_exist_and_coroutines_are_refused_where_they_are_written():
    for roles in ((), ("root",)):
        with pytest.raises(TypeError, match="name one or more of"):
            allowed(*roles)
        with pytest.raises(TypeError, match="name one or more of"):
            require(*roles)
    with pytest.raises(TypeError, match="plain functions"):

        @allowed("admin")
        async def later(member):
            pass


def test_a_handler_may_end_with_all_further_inputs(asking):
    @allowed("trainer")
    def many(member, name, *values):
        return f"{member.name} {name} {values}"

    @allowed("trainer")
    def picked(member, event: gr.SelectData, *values):
        return event.index, values

    assert as_gradio(many, ["x", 1, None], asking("tom")) == "tom x (1, None)"
    event = gr.EventData(None, {"index": 7, "value": "v"})
    assert as_gradio(picked, ["a", "b"], asking("tom"), event) == (7, ("a", "b"))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (lambda *values: None, "takes the member first"),
        (lambda: None, "takes the member first"),
        (lambda member, **named: None, r"\*\*named gets none: name the inputs one by one"),
        (lambda member, *, name: None, "name gets none: name the inputs one by one"),
    ],
)
def test_a_handler_that_gradio_cannot_call_is_named_where_it_is_written(written, said):
    with pytest.raises(TypeError, match=rf"<lambda>.*{said}"):
        allowed("admin")(written)


def test_an_upload_is_taken_by_its_uploader_alone_and_removed(desk, tmp_path):
    desk.uploads.clear()
    anna, tom = (logins.who(desk.store, logins.sign_in(desk.store, name, PASSWORD)) for name in ("anna", "tom"))
    path = desk.uploads.folder / "p.csv"
    path.write_text("text\nhello\n")
    desk.uploads.note(str(path), anna.id)
    for asked in (str(path), f"{path.parent}/x/../p.csv", "/etc/passwd"):
        with pytest.raises(Exception, match="not here any more"):
            desk.uploads.take(asked, tom)
    assert desk.uploads.take(str(path), anna) == path
    desk.uploads.note(str(path), tom.id)  # the same file by another user: Gradio gives it the same path
    desk.uploads.drop(str(path), anna)
    assert path.exists()
    desk.uploads.drop(str(path), tom)
    assert not path.exists()
