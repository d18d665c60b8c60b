"""Every check on machines that are well and on machines that are not; the cases are in cases/<family>.py."""

import json

import pytest

from appliance.preflight import run


@pytest.fixture(scope="module")
def checks():
    return run.all_checks()


def test_a_case_gets_its_verdict(case, checks, make_host, need):
    check = checks[case["id"]]
    keys = ("files", "links", "commands", "environ", "gpu", "nvml")
    assert set(case) <= {*keys, "id", "case", "status", "fact", "need", "says", "reboot"}, "a misspelt key"
    fact = case["fact"] if "fact" in case else check.probe(make_host(**{k: case[k] for k in keys if k in case}))
    fact = json.loads(json.dumps(fact))  # as it comes back from a file of facts
    verdict = check.judge(fact, need(**case.get("need", {})))
    assert verdict.status == case["status"], verdict
    assert case.get("says", "") in f"{verdict.found}\n{verdict.why}\n{verdict.fix}"
    assert verdict.reboot == case.get("reboot", verdict.reboot)


def test_every_check_has_a_red_and_a_green_case(checks, cases):
    green = {case["id"] for case in cases if case["status"] == "pass"}
    red = {case["id"] for case in cases if case["status"] in ("warn", "fail")}
    assert not set(checks) - green, "no green case"
    assert not set(checks) - red, "no red case"
    assert not (green | red) - set(checks), "cases of a check that is not there"


def test_needs_name_checks_that_exist(checks):
    assert not {(c.id, n) for c in checks.values() for n in c.needs if n not in checks}
