"""Which of the driver's fault reports count, and how they are read from a log."""

import pytest

from appliance.preflight.checks import gpu_xid


def status(*numbers, bad_rows=False):
    seen = {f"{number} 0000:00:06": 1 for number in numbers}
    fact = {"source": "dmesg", "problem": None, "seen": seen, "bad_rows": bad_rows}
    return gpu_xid.judge_xid(fact, None).status


@pytest.mark.parametrize("number", [46, 48, 62, 64, 79, 95, 109, 110, 119, 120, 140, 143, 158])
def test_the_card_s_faults_fail(number):
    assert status(number) == "fail"


@pytest.mark.parametrize("number", [63, 92, 94, 154, 61, 74])
def test_lesser_and_unlisted_ones_warn(number):
    assert status(number) == "warn"


def test_those_of_programs_pass():
    assert status(8, 13, 31, 32, 43, 45, 68, 69) == "pass"
    assert status(13, 79) == "fail"


def test_a_row_that_gpu_row_remap_fails_is_not_failed_twice():
    assert {number: status(number, bad_rows=True) for number in (48, 64, 95, 79)} == {
        48: "warn",
        64: "warn",
        95: "warn",
        79: "fail",
    }


def test_the_forms_of_the_line():
    log = """\
[   12.3] NVRM: loading NVIDIA UNIX x86_64 Kernel Module  525.60.13
[  100.0] NVRM: Xid (PCI:0000:00:06): 31, pid=812, name=python, Ch 00000008
[  101.0] NVRM: Xid (0000:3b:00): 31, Ch 00000008
[  102.0] NVRM: Xid (PCI:0000:00:06): 31, pid=813
[  103.0] NVRM: GPU at PCI:0000:00:06: GPU-4711
[  104.0] NVRM: GPU 0000:00:06.0: GPU has fallen off the bus.
[  105.0] somebody wrote Xid (PCI:0000:00:06): 79 in a message
"""
    assert gpu_xid.count_reports(log) == {"31 0000:00:06": 2, "31 0000:3b:00": 1, "79 0000:00:06": 1}


def test_a_log_that_says_nothing_at_all_was_not_seen(make_host):
    fact = gpu_xid.probe_xid(make_host(commands={"journalctl": "true", "dmesg": "true"}))
    assert (fact["source"], fact["problem"]) == (None, "no permission; no permission")


def test_another_problem_than_permission_is_told(make_host):
    broken = {"journalctl": "echo 'Failed to open: Bad message' >&2; exit 1", "dmesg": "sleep 30"}
    fact = gpu_xid.probe_xid(make_host(commands=broken))
    assert fact["source"] is None
    assert "bad message" in fact["problem"]
    assert "no answer in 2 s" in fact["problem"]  # 1.5 s


def test_rows_of_a_card_reach_the_judgement(make_host):
    host = make_host(gpu="a100-40", nvml={"DeviceGetRemappedRows": "0,1,1,0"}, commands={"dmesg": "echo hello"})
    assert gpu_xid.probe_xid(host) == {"source": "dmesg", "problem": None, "seen": {}, "bad_rows": True}
