"""The System tab's part about people, in a browser: an invitation to a second admin and back, a token, the audit log."""

import re
import time

from playwright.sync_api import expect

from appliance.store import audit, logins, users
from appliance.store.schema import Audit
from appliance.store.users import Member
from appliance.ui import people, system_audit

PASSWORD = "correct horse battery"


def choose(page, where, option):
    page.locator(f"{where} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def test_an_invited_user_joins_is_promoted_and_shut_out(site, browser_page):
    page = browser_page(site, "admin", path="/?tab=system")
    expect(page.locator("#system-users")).to_contain_text("trainer")
    page.locator("#system-invite").click()
    link = page.locator("#system-invite-link textarea, #system-invite-link input")
    expect(link).to_have_value(joining(site))
    guest = browser_page(site, None, path=link.input_value())
    guest.get_by_label("Name").fill("Rita")
    guest.get_by_label("Password, 10").fill(PASSWORD)
    guest.get_by_label("The password again").fill(PASSWORD)
    guest.get_by_role("button", name="Make the account").click()
    expect(guest.locator("#who-name")).to_have_text("rita (rater)")
    page.reload()
    expect(page.locator("#system-users")).to_contain_text("rita")
    choose(page, "#system-user", "rita")
    page.locator("#system-user-set-role").click()
    expect(page.get_by_text("rita: set role.")).to_be_visible()
    assert {one.name: one.role for one in users.everyone(site.store)}["rita"] == "trainer"
    page.locator("#system-user-disable").click()
    expect(page.get_by_text("rita: disable.")).to_be_visible()
    guest.goto("/vote/")
    expect(guest.get_by_role("heading", name="Sign in")).to_be_visible()
    assert [one.action for one in audit.entries(site.store, user_name="admin")][:3] == ["disable", "set role", "invite"]


def joining(site):

    return re.compile(rf"^{re.escape(site.url)}/join\?token=[\w-]{{43}}$")


def test_the_last_admin_is_told_why_they_stay(site, browser_page):
    page = browser_page(site, "admin", path="/?tab=system")
    expect(page.locator("#system-users")).to_contain_text("trainer")
    choose(page, "#system-user", "admin")
    page.locator("#system-user-delete").click()
    expect(page.get_by_text("Admin is the last admin. Make somebody else an admin first.")).to_be_visible()


def test_a_token_is_made_shown_once_and_withdrawn(site, browser_page):
    page = browser_page(site, "admin", path="/?tab=system")
    expect(page.locator("#system-users")).to_contain_text("trainer")
    choose(page, "#system-user", "trainer")
    page.locator("#system-token-make").click()
    shown = page.locator("#system-token-shown textarea, #system-token-shown input")
    expect(shown).to_be_visible()
    token = shown.input_value()
    assert logins.who_has(site.store, token).name == "trainer"
    assert site.client(headers={"authorization": f"Bearer {token}"}).get("/api/runs").status_code == 200
    (listed,) = logins.api_tokens(site.store)
    page.locator("#system-token input").click()
    page.get_by_role("option", name=listed.id).click()
    page.locator("#system-token-drop").click()
    expect(page.get_by_text("The token works no more.")).to_be_visible()
    assert logins.who_has(site.store, token) is None


def test_rows_of_the_tables():
    now = 1_000_000.0
    anna = Member(1, "anna", "admin", now, False, 0.0)
    locked = Member(2, "bert", "rater", now, False, now + 60)
    off = Member(3, "carl", "rater", now, True, now + 60)
    states = [row[3] for row in people.user_rows([anna, locked, off], now)]
    assert states == ["active", "locked until 1970-01-12 13:47:40 UTC: wrong passwords", "disabled"]
    entry = Audit(at=now, user_name="anna", action="stop", subject="support", detail={"a": 1})
    assert system_audit.audit_rows([entry]) == [["1970-01-12 13:46:40", "anna", "stop", "support", '{"a": 1}']]
    assert people.moment(now) == time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
