"""Selection, order, what depends on a failure, crashes, time-outs."""

import time

import pytest

from appliance.errors import ApplianceError
from appliance.preflight import run
from appliance.preflight.check import Check
from appliance.preflight.need import Need
from appliance.preflight.run import Observation, Report
from appliance.preflight.verdict import fail, passed, skip, warn

EXPLAIN = "A check of the tests, which stands for any other, and says so in many words."


def a_check(id, answer="pass", needs=(), **changes):
    verdicts = {
        "pass": passed("good"),
        "warn": warn("so so", "good", why="w", fix="f"),
        "fail": fail("bad", "good", why="w", fix="f"),
        "skip": skip("not supported"),
    }
    fields = {
        "title": id,
        "section": "VM",
        "scope": "both",
        "probe": lambda host: answer,
        "judge": lambda fact, need: verdicts[fact],
        "explain": EXPLAIN,
    }
    return Check(id=id, needs=needs, **(fields | changes))


def outcomes(*checks, host=None):
    found = run.examine(list(checks), Need(), run.Live(host, "quick") if host else Plain())
    return {outcome.check.id: outcome for outcome in found}


class Plain:
    """A source that probes at once."""

    def __init__(self):
        self.started = []

    def start(self, check):
        self.started.append(check)

    def next(self):
        check = self.started.pop(0)
        return check.id, Observation(check.probe(None), None, 1)


def report(*checks):
    return Report("host", "quick", Need(), tuple(outcomes(*checks).values()), (), 0.1)


def test_one_root_cause_fails_once_and_names_itself():
    found = outcomes(
        a_check("c", needs=("b",)), a_check("b", needs=("a",)), a_check("a", "fail"), a_check("d"), a_check("e", "warn")
    )
    assert [o.verdict.status for o in found.values()] == ["skip", "skip", "fail", "pass", "warn"]
    assert found["c"].verdict.found == found["b"].verdict.found == "needs a"
    assert found["c"].observation is None


def test_a_warning_lets_through_and_a_skip_does_not():
    found = outcomes(a_check("a", "warn"), a_check("b", needs=("a",)), a_check("c", "skip"), a_check("d", needs=("c",)))
    assert found["b"].verdict.status == "pass"
    assert found["d"].verdict.found == "needs c"


def test_a_need_that_is_not_selected_does_not_count():
    assert outcomes(a_check("b", needs=("a",)))["b"].verdict.status == "pass"


def test_needs_in_a_circle_are_a_bug():
    with pytest.raises(ValueError, match="circle"):
        run.waves([a_check("a", needs=("b",)), a_check("b", needs=("a",))])


@pytest.mark.parametrize(("blocking", "status"), [(True, "fail"), (False, "warn")])
def test_a_crash_counts_where_the_check_blocks(make_host, blocking, status):
    def broken(*_):
        raise KeyError("x")

    found = outcomes(
        a_check("probe", probe=broken, blocking=blocking),
        a_check("judge", judge=broken, blocking=blocking),
        a_check("above", needs=("probe",)),
        host=make_host(),
    )
    assert [found[id].verdict.status for id in ("probe", "judge")] == [status, status]
    assert found["probe"].verdict.found == "the probe crashed: KeyError: 'x'"
    assert found["judge"].verdict.found == "the judgement crashed: KeyError: 'x'"
    assert found["above"].verdict.found == "needs probe"


def test_a_probe_that_hangs_is_left_behind(make_host):
    slow = a_check("slow", probe=lambda host: time.sleep(20), timeout_s=0.3, blocking=True)
    begun = time.monotonic()
    found = outcomes(slow, a_check("fast"), host=make_host())
    assert time.monotonic() - begun < 5  # not the 20 s of the sleep
    assert "no answer in 0." in found["slow"].verdict.found
    assert (found["slow"].verdict.status, found["fast"].verdict.status) == ("fail", "pass")


def test_a_slow_probe_does_not_keep_back_what_stands_on_others(make_host):
    order = []

    def slow(host):
        time.sleep(0.5)
        order.append("slow")
        return "pass"

    def quick(host):
        order.append("above")
        return "pass"

    checks = (a_check("slow", probe=slow), a_check("base"), a_check("above", needs=("base",), probe=quick))
    assert [o.verdict.status for o in outcomes(*checks, host=make_host()).values()] == ["pass"] * 3
    assert order == ["above", "slow"]


def test_the_level_bounds_everything(make_host, monkeypatch):
    monkeypatch.setitem(run.BOUND_S, "full", 1.0)
    slow = [
        a_check(f"slow{i}", probe=lambda host: time.sleep(20), timeout_s=30, level="full", blocking=True)
        for i in range(3)
    ]
    begun = time.monotonic()
    found = run.examine(slow, Need(), run.Live(make_host(), "full"))
    assert time.monotonic() - begun < 5  # three times 20 s otherwise
    assert all("no answer" in outcome.verdict.found for outcome in found)


def test_exit_codes():
    assert report(a_check("a"), a_check("b", "skip")).exit_code() == 0
    assert report(a_check("a"), a_check("b", "warn")).exit_code() == 0
    assert report(a_check("a"), a_check("b", "warn")).exit_code("warn") == 1
    assert report(a_check("a"), a_check("b", "fail")).exit_code() == 1
    assert report(a_check("b", "skip")).exit_code() == 2


def test_selection_by_stage_level_and_name():
    def ids(*arguments):
        return {check.id for check in run.select(*arguments)}

    assert "docker.engine" in ids("host", "quick")
    assert "docker.engine" not in ids("container", "quick")
    assert "cuda.init" in ids("host", "full") - ids("host", "quick")
    assert ids("host", "quick", ("cuda.init",)) == {"cuda.init"}
    assert ids("host", "quick") - ids("host", "quick", (), ("host.os",)) == {"host.os"}


def test_an_unknown_id_names_the_near_ones():
    with pytest.raises(ApplianceError, match="did you mean drv"):
        run.select("host", "quick", ("drv.mim",))
    with pytest.raises(ApplianceError, match="no check is left"):
        run.select("host", "quick", ("docker.engine",), ("docker.engine",))


def test_an_id_of_the_other_stage_is_refused_and_not_dropped():
    with pytest.raises(ApplianceError, match=r"no docker\.engine in --stage container"):
        run.select("container", "quick", ("host.arch", "docker.engine"))


def test_a_missing_driver_is_one_failure(make_host):
    """The card is there and nothing else: everything on top waits for the module."""
    slot = "/sys/bus/pci/devices/0000:00:06.0"
    host = make_host(files={f"{slot}/vendor": "0x10de", f"{slot}/class": "0x030200", f"{slot}/device": "0x20f1"})
    wanted = (
        "pci.gpu_present",
        "mod.nvidia_loaded",
        "nvml.init",
        "drv.min",
        "gpu.responds",
        "gpu.ecc_mode",
        "cuda.init",
    )
    found = run.examine(run.select("host", "full", wanted), Need(), run.Live(host, "full"))
    by_id = {outcome.check.id: outcome.verdict for outcome in found}
    assert by_id.pop("pci.gpu_present").status == "pass"
    assert by_id.pop("mod.nvidia_loaded").status == "fail"
    assert {verdict.found for verdict in by_id.values()} == {"needs mod.nvidia_loaded"}
