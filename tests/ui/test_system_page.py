"""The System tab on a real server: what an admin sees of the machine, and the audit log's file."""

import csv
import io

from playwright.sync_api import expect

from appliance.store import audit


def test_an_admin_sees_the_machine_and_narrow_screens_hold_it(site, browser_page):
    page = browser_page(site, "admin", width=390, path="/?tab=system")
    expect(page.locator("#system-disk")).to_contain_text("The store")
    page.locator("#system-versions-box button").first.click()
    expect(page.locator("#system-versions")).to_contain_text("gradio")
    page.locator("#system-preflight").click()
    expect(page.locator("#system-verdict")).to_contain_text("Preflight at", timeout=90_000)
    link = page.locator("#system-audit-file a")
    assert link.get_attribute("href").endswith("download/system/audit.csv")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_audit_log_is_given_to_admins_alone_and_the_download_is_in_it(site):
    audit.record(site.store, site.user("trainer"), "stop", "+1 run")
    assert site.client("trainer").get("/download/system/audit.csv").status_code == 403
    answer = site.client("admin").get("/download/system/audit.csv", params={"user": "Trainer", "action": "stop"})
    assert answer.headers["content-disposition"].startswith("attachment")
    _, row = csv.reader(io.StringIO(answer.text))
    assert row[1:] == ["trainer", "stop", "'+1 run", ""]
    latest = audit.entries(site.store, limit=1)[0]
    assert (latest.user_name, latest.action, latest.subject) == ("admin", "audit log exported", "trainer")
