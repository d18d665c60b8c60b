"""The machine, its disks, the hub and Docker: what needs a server, a real file system or several checks at once."""

import http.server
import json
import socket
import threading
import time

import pytest

from appliance.preflight import run
from appliance.preflight.checks import host as host_checks
from appliance.preflight.checks import hub, storage, weights_hash
from appliance.preflight.need import Need

VERSION = '{"Server":{"Version":"28.1.0"}}'
INFO = json.dumps(
    {
        "Runtimes": {"runc": {}, "nvidia": {}},
        "DiscoveredDevices": None,
        "CgroupDriver": "cgroupfs",
        "DockerRootDir": "/",
    }
)
DOCKER = f"""case "$1" in version) echo '{VERSION}' ;; info) echo '{INFO}' ;; compose) echo 2.40.3 ;; esac"""
CTK = "echo 'NVIDIA Container Toolkit CLI version 1.18.0'"
CARD = {
    "/sys/bus/pci/devices/0000:00:05.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:00:05.0/class": "0x030200\n",
    "/sys/bus/pci/devices/0000:00:05.0/device": "0x20f1\n",
    "/sys/module/nvidia/version": "580.95.05\n",
}


@pytest.fixture
def server():
    """make(code) -> address of a server that answers every HEAD with it."""
    running = []

    def make(code):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response(code)
                self.end_headers()

            def log_message(self, *_):
                pass

        running.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer))
        threading.Thread(target=running[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield make
    for one in running:
        one.shutdown()
        one.server_close()


def test_a_hub_is_asked_with_its_answer_kept(make_host, server):
    assert hub.probe_hub(make_host(environ={"HF_ENDPOINT": server(200)}))["problem"] is None
    assert hub.probe_hub(make_host(environ={"HF_ENDPOINT": server(503)}))["problem"].startswith("it answered 503")


def test_a_hub_is_asked_through_the_proxy_and_its_password_stays_here(make_host):
    environ = {"HF_ENDPOINT": "https://hub.invalid", "https_proxy": "http://me:secret@127.0.0.1:9"}
    fact = hub.probe_hub(make_host(environ=environ))
    assert fact["problem"] == "Connection refused", "the proxy's port is shut; the name was not looked up here"
    assert "secret" not in json.dumps(fact)
    assert "127.0.0.1:9" in hub.judge_hub(fact, Need()).why


def test_a_hub_that_is_silent_is_left_in_time(make_host, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        monkeypatch.setattr(hub, "ASKING_S", 0.2)
        assert hub.ask(f"http://127.0.0.1:{silent.getsockname()[1]}") == "no answer in 0.2 s"


def test_an_address_that_is_none_is_a_problem_and_no_crash(make_host):
    assert hub.probe_hub(make_host(environ={"HF_ENDPOINT": "not an address"}))["problem"]


def test_trying_the_data_folder_leaves_nothing(make_host):
    host = make_host(files={"/data/kept": "x"}, environ={"APPLIANCE_DATA": "/data"})
    assert storage.probe_writable(host)["error"] is None
    assert host.listdir("/data") == ["kept"]


def test_the_data_folder_is_measured_where_it_will_be_made(make_host):
    host = make_host(files={"/srv/x": ""}, environ={"APPLIANCE_DATA": "/srv/not/yet"})
    assert storage.probe_data(host) == {"folder": "/srv/not/yet", "disk": host.statvfs("/srv")}


def test_the_kernels_clock_is_read_without_setting_it():
    before = time.time()
    clock = host_checks.kernel_clock()
    assert clock["error"] or 0 <= clock["max_error_us"] <= host_checks.SYNCHRONIZED_US
    assert abs(time.time() - before) < 60


def test_hashing_stops_when_its_time_is_over(make_host):
    blob = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    host = make_host(
        files={f"/hub/models--o--m/blobs/{blob}": "abc"},
        links={"/hub/models--o--m/snapshots/1/a.safetensors": f"../../blobs/{blob}"},
    )
    assert weights_hash.compare(str(host.path("/hub")), 0.0)["unread"] == 1
    assert weights_hash.compare(str(host.path("/hub")))["unread"] == 0


def container_engine(host):
    """id -> verdict of the checks on the container engine and what they stand on, on a host."""
    ids = ("docker.", "ctk.", "disk.docker", "pci.gpu_present", "mod.nvidia_loaded")
    checks = [c for c in run.select("host", "quick") if c.id.startswith(ids)]
    return {o.check.id: o.verdict for o in run.examine(checks, Need(), run.Live(host, "quick"))}


@pytest.mark.parametrize(
    ("commands", "files", "root"),
    [
        ({"docker": DOCKER, "nvidia-ctk": CTK}, {}, None),
        ({"nvidia-ctk": CTK}, {}, "docker.engine"),
        ({"docker": DOCKER, "nvidia-ctk": CTK}, {"/proc/9/cmdline": "/snap/docker/1/bin/dockerd\0"}, "docker.snap"),
        ({"docker": DOCKER}, {}, "ctk.version"),
        ({"docker": DOCKER.replace("nvidia", "other"), "nvidia-ctk": CTK}, {}, "ctk.runtime"),
    ],
    ids=["well", "no Docker", "snap", "no toolkit", "not configured"],
)
def test_one_thing_wrong_with_docker_is_one_failure(make_host, commands, files, root):
    found = container_engine(make_host(commands=commands, files=CARD | files))
    assert [id for id, verdict in found.items() if verdict.status == "fail"] == ([root] if root else [])
    assert {v.found for v in found.values() if v.status == "skip"} <= {f"needs {root}", "there is no CDI specification"}


def test_a_docker_that_hangs_is_one_failure_in_time(make_host):
    begun = time.monotonic()
    found = container_engine(make_host(commands={"docker": "sleep 30", "nvidia-ctk": CTK}, files=CARD))
    assert [id for id, verdict in found.items() if verdict.status == "fail"] == ["docker.engine"]
    assert "no answer" in found["docker.engine"].found
    assert time.monotonic() - begun < 5, "the bound of the quick level"
