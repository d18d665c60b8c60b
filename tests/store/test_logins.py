"""Signing in, the lock after wrong passwords, sessions and API tokens."""

import pytest

from appliance.errors import ApplianceError
from appliance.store import logins, users
from appliance.store.schema import Login

PASSWORD = "correct horse battery"
HOUR = 3600.0


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch):
    """argon2id with the least work, so that the tests are quick."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(users, "_hasher", hasher)
    monkeypatch.setattr(users, "_nobody", hasher.hash("nobody's"))


@pytest.fixture
def anna(store):
    return users.add(store, "anna", PASSWORD, "admin")


def wrong(store, times):
    said = []
    for _ in range(times):
        with pytest.raises(logins.SignInRefused) as refused:
            logins.sign_in(store, "anna", "wrong")
        said.append(refused.value.what)
    return said


def test_the_store_holds_only_a_hash_of_the_token(store, anna):
    token = logins.sign_in(store, "Anna", PASSWORD)
    with store.reading() as session:
        rows = list(session.query(Login))
    assert [row.user_id for row in rows] == [anna.id]
    assert token not in str(vars(rows[0]))
    assert logins.who(store, token) == anna


def test_a_wrong_name_and_a_wrong_password_are_told_alike(store, anna):
    said = set()
    for name, password in (("anna", "wrong"), ("nobody", PASSWORD), ("anna", ""), ("", "")):
        with pytest.raises(logins.SignInRefused) as refused:
            logins.sign_in(store, name, password)
        said.add(str(refused.value))
    assert len(said) == 1


def test_an_unknown_name_costs_a_hash_too(store, anna, monkeypatch):
    hashes = []
    real = users.matches
    monkeypatch.setattr(logins, "matches", lambda password, stored: hashes.append(stored) or real(password, stored))
    with pytest.raises(logins.SignInRefused):
        logins.sign_in(store, "nobody", PASSWORD)
    assert hashes == [None]
    assert not users.matches("", None)


def test_five_wrong_passwords_lock_the_user_for_fifteen_minutes(store, anna, clock):
    wrong(store, 5)
    with pytest.raises(logins.SignInRefused, match="wait 15 minutes"):
        logins.sign_in(store, "anna", PASSWORD)  # the right one does not help
    clock.now += 900 - 1
    with pytest.raises(logins.SignInRefused, match="wait 1 minute,"):
        logins.sign_in(store, "anna", PASSWORD)
    clock.now += 2
    assert logins.sign_in(store, "anna", PASSWORD)


def test_tries_during_the_lock_do_not_make_it_longer(store, anna, clock):
    wrong(store, 5)
    assert set(wrong(store, 20)) == {"too many wrong passwords"}
    clock.now += 901
    assert logins.sign_in(store, "anna", PASSWORD)


def test_the_lock_doubles_and_a_right_password_resets_it(store, anna, clock):
    assert [logins.lock_s(n) for n in (0, 4, 5, 6, 10, 15, 50)] == [0, 0, 900, 0, 1800, 3600, 24 * HOUR]
    wrong(store, 5)
    clock.now += 901
    wrong(store, 5)
    clock.now += 1799
    with pytest.raises(logins.SignInRefused, match="too many"):
        logins.sign_in(store, "anna", PASSWORD)
    clock.now += 2
    assert logins.sign_in(store, "anna", PASSWORD)
    wrong(store, 4)
    assert logins.sign_in(store, "anna", PASSWORD)  # counted from nothing again


def test_an_address_with_thirty_wrong_sign_ins_waits(clock):
    throttle = logins.Throttle(clock)
    for _ in range(30):
        throttle.check("10.0.0.1")
        throttle.wrong("10.0.0.1")
    with pytest.raises(logins.SignInRefused, match="wait 15 minutes"):
        throttle.check("10.0.0.1")
    throttle.check("10.0.0.2")
    clock.now += 901
    throttle.check("10.0.0.1")


def test_a_session_slides_for_twelve_hours_and_ends_after_thirty_days(store, anna, clock):
    token = logins.sign_in(store, "anna", PASSWORD)
    clock.now += 12 * HOUR + 1
    assert logins.who(store, token) is None
    token = logins.sign_in(store, "anna", PASSWORD)
    for _ in range(65):  # every 11 hours, 29.8 days in all
        clock.now += 11 * HOUR
        assert logins.who(store, token) == anna
    clock.now += 11 * HOUR
    assert logins.who(store, token) is None


def test_signing_out_forgets_this_browser_alone(store, anna):
    one, two = logins.sign_in(store, "anna", PASSWORD), logins.sign_in(store, "anna", PASSWORD)
    logins.sign_out(store, one)
    assert logins.who(store, one) is None
    assert logins.who(store, two) == anna


def test_a_disabled_user_is_out_at_once(store, anna):
    users.add(store, "bert", PASSWORD, "admin")
    token, api = logins.sign_in(store, "anna", PASSWORD), logins.make_api_token(store, anna.id)
    users.set_disabled(store, anna.id, True)
    assert logins.who(store, token) is None
    assert logins.who_has(store, api) is None
    with pytest.raises(logins.SignInRefused, match="not right"):
        logins.sign_in(store, "anna", PASSWORD)


def test_api_tokens_and_sessions_do_not_stand_in_for_each_other(store, anna, clock):
    session, api = logins.sign_in(store, "anna", PASSWORD), logins.make_api_token(store, anna.id)
    assert logins.who_has(store, api) == anna
    assert logins.who(store, api) is None
    assert logins.who_has(store, session) is None
    clock.now += 29 * 24 * HOUR
    assert logins.who_has(store, api) == anna
    assert [token.user_id for token in logins.api_tokens(store)] == [anna.id]  # the session is not listed


def test_an_api_token_is_dropped_by_its_id(store, anna):
    api = logins.make_api_token(store, anna.id)
    listed = logins.api_tokens(store, anna.id)
    with pytest.raises(ApplianceError, match="no API token"):
        logins.drop_api_token(store, listed[0].id, anna.id + 1)
    logins.drop_api_token(store, listed[0].id)
    assert logins.who_has(store, api) is None


@pytest.mark.parametrize("token", [None, "", "x", "rlhf_x", "x" * 10_000])
def test_made_up_tokens_are_nobodys(store, anna, token):
    assert logins.who(store, token) is None
    assert logins.who_has(store, token) is None
