"""The System tab on a real server: what an admin sees of the machine, work that goes on without the page, the audit log."""

import csv
import io
import re
import tarfile

from playwright.sync_api import expect

from appliance.store import audit
from appliance.ui import machine, system_work

PATIENCE_MS = 90_000


def test_an_admin_sees_the_machine_and_narrow_screens_hold_it(site, browser_page):
    page = browser_page(site, "admin", width=390, path="/?tab=system")
    expect(page.locator("#system-disk")).to_contain_text("The store")
    page.locator("#system-versions-box button").first.click()
    expect(page.locator("#system-versions")).to_contain_text("gradio")
    link = page.locator("#system-audit-file a")
    assert link.get_attribute("href").endswith("download/system/audit.csv")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_preflight_goes_on_without_the_page_that_began_it(site, browser_page):
    first = browser_page(site, "admin", path="/?tab=system")
    first.locator("#system-preflight").click()
    expect(first.locator("#system-verdict")).to_contain_text(re.compile("is being looked at|Preflight at"))
    first.close()
    second = browser_page(site, "admin", path="/?tab=system")
    expect(second.locator("#system-verdict")).to_contain_text("Preflight at", timeout=PATIENCE_MS)
    expect(second.locator("#system-verdict")).not_to_contain_text("is being looked at")
    (entry,) = audit.entries(site.store, action="preflight")
    assert entry.user_name == "admin"


def test_a_backup_is_made_once_listed_when_it_is_whole_and_can_be_taken_away(site, browser_page):
    one, other = (browser_page(site, "admin", path="/?tab=system") for _ in range(2))
    for page in (one, other):
        expect(page.locator("#system-backups")).to_contain_text("No whole backup is on this machine yet.")
    one.locator("#system-backup").click()
    expect(one.locator("#system-backups")).to_contain_text("begun at")
    other.locator("#system-backup").click()
    for page in (one, other):
        expect(page.locator("#system-backups")).to_contain_text("is whole:", timeout=PATIENCE_MS)
    names = [entry.subject for entry in audit.entries(site.store, action="backup")]
    address = other.locator("#system-backups a").first.get_attribute("href")
    assert address.rpartition("/")[2] in names
    content = site.client("admin").get(f"/{address.lstrip('./')}").content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        assert {"backup.json", "manifest.json"} <= set(tar.getnames())


def test_what_a_restart_cut_off_is_said_to_whoever_comes_next(make_site, browser_page):
    site = make_site()
    page = browser_page(site, "admin", path="/?tab=system")
    page.locator("#system-preflight").click()
    expect(page.locator("#system-verdict")).to_contain_text("Preflight at", timeout=PATIENCE_MS)
    folder = system_work.folder_of(site.store, "preflight")
    (folder / "end.json").unlink()  # a server that died in the middle writes neither this
    (site.settings.data / machine.PREFLIGHT).unlink()  # nor the report
    page.close()
    site.stop(kill=True)
    site.start()
    page = browser_page(site, "admin", path="/?tab=system")
    expect(page.locator("#system-verdict")).to_contain_text(
        "by admin was cut off: the server was restarted. Start it again."
    )
    page.locator("#system-preflight").click()
    expect(page.locator("#system-verdict")).to_contain_text("Preflight at", timeout=PATIENCE_MS)
    expect(page.locator("#system-verdict")).not_to_contain_text("cut off")


def test_the_audit_log_is_filtered_by_user_and_action_and_its_file_with_it(site, browser_page):
    for action, subject in (("stop", "first run"), ("delete", "second run")):
        audit.record(site.store, site.user("trainer"), action, subject)
    page = browser_page(site, "admin", path="/?tab=system")
    table, link = page.locator("#system-audit"), page.locator("#system-audit-file a")
    expect(table).to_contain_text("first run")
    expect(table).to_contain_text("second run")
    page.locator("#system-audit-action input").click()
    page.get_by_role("option", name="stop", exact=True).click()
    expect(table).not_to_contain_text("second run")
    expect(table).to_contain_text("first run")
    expect(link).to_have_attribute("href", re.compile(r"audit\.csv\?action=stop$"))
    page.locator("#system-audit-user textarea, #system-audit-user input").fill("admin")
    page.locator("#system-audit-user textarea, #system-audit-user input").press("Enter")
    expect(table).not_to_contain_text("first run")
    expect(link).to_have_attribute("href", re.compile(r"audit\.csv\?user=admin&action=stop$"))


def test_the_audit_log_is_given_to_admins_alone_and_the_download_is_in_it(site):
    audit.record(site.store, site.user("trainer"), "pause", "+1 run")
    assert site.client("trainer").get("/download/system/audit.csv").status_code == 403
    answer = site.client("admin").get("/download/system/audit.csv", params={"user": "Trainer", "action": "pause"})
    assert answer.headers["content-disposition"].startswith("attachment")
    _, row = csv.reader(io.StringIO(answer.text))
    assert row[1:] == ["trainer", "pause", "'+1 run", ""]
    latest = audit.entries(site.store, limit=1)[0]
    assert (latest.user_name, latest.action, latest.subject) == ("admin", "audit log exported", "trainer")
