"""What probes stand on: files below a root, commands and children that cannot hang or crash the caller."""

import os
import time

from appliance.preflight.host import Host


def test_files_are_read_below_the_root_and_absence_is_a_value(make_host):
    host = make_host(files={"/proc/a": "one\n"}, links={"/sys/driver": "../nvidia"})
    assert host.read_text("/proc/a") == "one"
    assert host.listdir("/proc") == ["a"]
    assert host.readlink("/sys/driver") == "../nvidia"
    assert host.exists("/sys/driver"), "a link counts, wherever it leads"
    assert (host.read_text("/b"), host.readlink("/b"), host.statvfs("/b"), host.listdir("/b")) == (None, None, None, [])
    assert host.statvfs("/proc")["total_bytes"] > 0


def test_a_command_answers_in_the_c_locale_without_a_shell(make_host):
    host = make_host(commands={"say": 'echo "$LC_ALL $1"; echo bad >&2; exit 3'})
    assert host.run("say", "$HOME; ls") == {"code": 3, "out": "C $HOME; ls", "err": "bad", "problem": None}


def test_a_command_that_is_absent_or_cannot_start_is_a_value(make_host, tmp_path):
    host = make_host()
    assert host.run("docker", "info")["problem"] == "docker is not installed"
    broken = tmp_path / "bin" / "broken"
    broken.write_bytes(b"\x7fELF not really")
    broken.chmod(0o755)
    assert "cannot be started" in host.run("broken")["problem"]


def test_a_hanging_command_is_killed_with_its_children(make_host, tmp_path):
    pid = tmp_path / "pid"
    host = make_host(commands={"hang": f"sleep 60 & echo $! > {pid}; wait"})
    begun = time.monotonic()
    assert "gave no answer" in host.run("hang", timeout_s=0.4)["problem"]
    assert time.monotonic() - begun < 5  # not the 60 s of the sleep
    for _ in range(100):
        if not alive(int(pid.read_text())):
            break
        time.sleep(0.02)
    assert not alive(int(pid.read_text()))


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_the_same_command_runs_once(make_host, tmp_path):
    host = make_host(commands={"count": f"echo x >> {tmp_path / 'calls'}"})
    host.run("count")
    host.run("count")
    assert (tmp_path / "calls").read_text() == "x\n"


def test_nothing_starts_after_the_deadline(make_host):
    host = make_host(commands={"say": "echo hi"})
    host.deadline = time.monotonic() - 1
    assert host.run("say")["problem"] == "there was no time left"


def test_a_child_that_fails_is_a_value():
    answer = Host(environ=os.environ).child("nvml:no_such_function")
    assert answer["value"] is None
    assert "exit code 1" in answer["problem"]
    assert "no_such_function" in answer["problem"]


def test_a_container_is_known_by_its_marks(make_host):
    assert not make_host(files={"/proc/1/cgroup": "0::/init.scope\n"}).in_container()
    assert make_host(files={"/proc/1/cgroup": "0::/system.slice/docker-12.scope\n"}).in_container()
    assert make_host(files={"/.dockerenv": ""}).in_container()
