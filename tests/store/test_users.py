"""Accounts, roles, invitations, passwords."""

import pytest

from appliance.errors import ApplianceError, ConfigError
from appliance.store import logins, users
from appliance.store.schema import Invitation, User, Vote
from appliance.store.vote_batches import create_batch
from appliance.store.votes import cast, next_item

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """argon2id with the least work, so that the tests are quick."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(users, "_hasher", hasher)
    monkeypatch.setattr(users, "_nobody", hasher.hash("nobody's"))


def test_a_password_is_kept_as_argon2id_and_nothing_else(store):
    made = users.add(store, "Anna", PASSWORD, "admin")
    with store.reading() as session:
        row = session.get(User, made.id)
    assert row.password_hash.startswith("$argon2id$")
    assert PASSWORD not in str(vars(row))
    assert not any("hash" in name for name in vars(made))


def test_names_are_the_same_in_any_case(store):
    assert users.add(store, " Anna ", PASSWORD, "admin").name == "anna"
    with pytest.raises(ConfigError, match="there is a user 'anna'"):
        users.add(store, "ANNA", PASSWORD, "rater")


@pytest.mark.parametrize("name", ["", " ", "a b", "<b>", "x" * 65, "-a", "änne", "a\nb"])
def test_names_that_cannot_be(store, name):
    with pytest.raises(ConfigError, match="cannot be a user name"):
        users.add(store, name, PASSWORD, "rater")


@pytest.mark.parametrize(
    ("password", "said"), [("short", "5 characters"), ("x" * 257, "257"), ("Anna.Anders", "is the name")]
)
def test_passwords_that_cannot_be(store, password, said):
    with pytest.raises(ConfigError, match=said):
        users.add(store, "anna.anders", password, "rater")


def test_a_role_that_is_not_there_is_refused(store):
    with pytest.raises(ConfigError, match="choose one of: admin, trainer, rater"):
        users.add(store, "anna", PASSWORD, "root")


def test_the_last_admin_can_be_neither_removed_nor_disabled_nor_demoted(store):
    anna = users.add(store, "anna", PASSWORD, "admin")
    bert = users.add(store, "bert", PASSWORD, "admin")
    users.set_disabled(store, bert.id, True)  # a disabled admin is none
    for act in (
        lambda: users.remove(store, anna.id),
        lambda: users.set_disabled(store, anna.id, True),
        lambda: users.set_role(store, anna.id, "rater"),
    ):
        with pytest.raises(ApplianceError, match="anna is the last admin"):
            act()
    users.set_disabled(store, bert.id, False)
    users.remove(store, anna.id)
    assert [user.name for user in users.everyone(store)] == ["bert"]


def test_a_user_who_voted_is_not_deleted(store):
    users.add(store, "anna", PASSWORD, "admin")
    rater = users.add(store, "rita", PASSWORD, "rater")
    batch = create_batch(store, name="b", mode="pair", items=[("p", ("x", "y"), ("before", "after"))])
    shown = next_item(store, batch, rater.id)
    cast(store, shown.assignment_id, rater.id, choice="a", key="k", seconds=1.0)
    with pytest.raises(ApplianceError, match="1 votes of rita"):
        users.remove(store, rater.id)
    with store.reading() as session:
        assert session.query(Vote).count() == 1


def test_an_invitation_makes_one_account_of_its_role(store):
    token = users.invite(store, "trainer")
    assert users.invited_role(store, token) == "trainer"
    assert users.join(store, token, "tom", PASSWORD).role == "trainer"
    assert users.invited_role(store, token) is None
    with pytest.raises(ApplianceError, match="was used"):
        users.join(store, token, "tim", PASSWORD)
    with store.reading() as session:
        assert token not in str([vars(row) for row in session.query(Invitation)])


def test_an_invitation_is_not_used_up_by_a_name_that_is_taken(store):
    users.add(store, "tom", PASSWORD, "admin")
    token = users.invite(store, "rater")
    with pytest.raises(ConfigError, match="already"):
        users.join(store, token, "tom", PASSWORD)
    assert users.join(store, token, "tim", PASSWORD).role == "rater"


def test_an_invitation_runs_out(store, clock):
    token = users.invite(store, "rater")
    clock.now += 7 * 24 * 3600 + 1
    assert users.invited_role(store, token) is None
    with pytest.raises(ApplianceError, match="run out"):
        users.join(store, token, "tim", PASSWORD)


def test_the_first_admin_comes_from_the_file(store, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    assert users.first_admin(store, secret) is None
    assert [(user.name, user.role) for user in users.everyone(store)] == [("admin", "admin")]
    assert logins.sign_in(store, "admin", PASSWORD)
    secret.write_text("another password, later")
    assert users.first_admin(store, secret) is None  # users are there: the file is not read again
    assert logins.sign_in(store, "admin", PASSWORD)


def test_a_password_file_that_is_not_there_or_too_short_is_named(store, tmp_path):
    with pytest.raises(ConfigError, match=r"APPLIANCE_ADMIN_PASSWORD_FILE .*nowhere: No such file"):
        users.first_admin(store, tmp_path / "nowhere")
    (tmp_path / "short").write_text("admin")
    with pytest.raises(ConfigError, match="5 characters"):
        users.first_admin(store, tmp_path / "short")
    assert users.everyone(store) == []


def test_without_a_file_the_first_admin_gets_a_token_and_a_newer_one_replaces_it(store):
    first = users.first_admin(store, None)
    second = users.first_admin(store, None)
    assert users.invited_role(store, first) is None
    assert users.join(store, second, "anna", PASSWORD).role == "admin"
    assert users.first_admin(store, None) is None


def test_a_changed_password_signs_every_browser_out(store):
    anna = users.add(store, "anna", PASSWORD, "admin")
    token, api = logins.sign_in(store, "anna", PASSWORD), logins.make_api_token(store, anna.id)
    with pytest.raises(ApplianceError, match="present password is not right"):
        users.change_password(store, anna.id, "wrong password", "a new password")
    assert logins.who(store, token) == anna
    users.change_password(store, anna.id, PASSWORD, "a new password")
    assert logins.who(store, token) is None
    assert logins.who_has(store, api) is None
    assert logins.sign_in(store, "anna", "a new password")
