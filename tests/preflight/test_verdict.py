"""A verdict that leaves the reader alone cannot be made."""

import pytest

from appliance.preflight.check import Check
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn


@pytest.mark.parametrize("make", [warn, fail])
@pytest.mark.parametrize("missing", ["why", "fix"])
def test_a_warning_or_failure_needs_why_and_fix(make, missing):
    said = {"why": "because", "fix": "sudo reboot", missing: " "}
    with pytest.raises(ValueError, match="needs expected, why and fix"):
        make("found", "expected", **said)


def test_it_says_what_was_found_and_has_a_known_status():
    with pytest.raises(ValueError, match="what was found"):
        skip("")
    with pytest.raises(ValueError, match="status 'ok'"):
        Verdict("ok", "found")
    assert passed("16 CPUs").status == "pass"


def test_a_check_explains_itself():
    with pytest.raises(ValueError, match="too short"):
        Check("a.b", "t", "VM", "host", lambda host: None, lambda fact, need: passed("x"), explain="Looks.")
