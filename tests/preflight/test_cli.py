"""`appliance preflight` and `appliance gpu` as processes."""

import json
import time

import pytest

from appliance.preflight.need import Need


def test_quick_on_this_machine(appliance_command, tmp_path):
    begun = time.monotonic()
    done = appliance_command("preflight", "--stage", "host")
    assert time.monotonic() - begun < 10  # far above the 2 s it takes alone: the bound of quick is 5 s
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr == ""
    assert "First thing to do" in done.stdout or "READY" in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_dumped_facts_replay_to_the_same_report(appliance_command, tmp_path):
    file = tmp_path / "facts.json"
    dump = ("--skip", "host.clock", "--dump-facts", str(file))
    first = appliance_command("preflight", "--stage", "host", "--json", *dump)
    second = appliance_command("preflight", "--json", "--replay", str(file))

    def told(done):
        document = json.loads(done.stdout)
        del document["duration_s"]
        return document

    assert first.returncode == second.returncode
    assert told(first) == told(second)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ('{"kind": "appliance-prefl', "not whole JSON"),
        ('{"some": "thing"}', "holds no preflight facts"),
        ("[1, 2]", "holds no preflight facts"),
        ('{"kind": "appliance-preflight-facts", "version": 99}', "version 99"),
        ('{"kind": "appliance-preflight-facts", "version": 1, "facts": {"a": 1}}', "lacks parts"),
    ],
)
def test_a_file_that_cannot_be_replayed_exits_with_2(appliance_command, tmp_path, content, said):
    file = tmp_path / "facts.json"
    if content is not None:
        file.write_text(content)
    done = appliance_command("preflight", "--replay", str(file))
    assert done.returncode == 2
    assert said in done.stderr
    assert "fix:" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "drv.mim"], "did you mean drv.min"),
        (["--only", ","], "names no check"),
        (["--stage", "container", "--only", "host.arch,docker.engine"], "no docker.engine in --stage container"),
        (["--skip", "nvml"], "did you mean nvml.init"),
        (["--root", "/no/such/folder"], "is no folder"),
        (["--config", "/no/such/recipe.yaml"], "no config file"),
        (["--level", "profound"], "quick"),
    ],
)
def test_wrong_usage_exits_with_2(appliance_command, arguments, said):
    done = appliance_command("preflight", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_one_check_and_its_exit_codes(appliance_command, tmp_path):
    only = ["preflight", "--stage", "host", "--only", "host.os", "--root", str(tmp_path)]
    assert appliance_command(*only).returncode == 2, "a report of nothing but skips has measured nothing"
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text("ID=rocky\nVERSION_ID=9\n")
    assert appliance_command(*only).returncode == 0
    assert appliance_command(*only, "--fail-on", "warn").returncode == 1
    done = appliance_command(*only, "--nagios")
    assert done.returncode == 1
    assert done.stdout.startswith("PREFLIGHT WARNING")


def test_list_and_explain(appliance_command):
    listed = appliance_command("preflight", "list").stdout.splitlines()
    assert any(line.startswith("drv.min ") for line in listed)
    explained = appliance_command("preflight", "explain", "drv.min")
    assert explained.returncode == 0
    assert "525.60.13" in explained.stdout
    assert appliance_command("preflight", "explain", "drv.mim").returncode == 2


def test_gpu_prints_what_nvidia_smi_shows(appliance_command, gpu_environ):
    done = appliance_command("gpu", "--once", **gpu_environ("h200"))
    assert done.returncode == 0
    assert "name               NVIDIA H200" in done.stdout
    assert "memory             2 MiB / 143771 MiB" in done.stdout  # 150754820096 / 2**20 = 143771.0


def test_gpu_without_a_driver_says_so(appliance_command, tmp_path):
    done = appliance_command("gpu", "--once", LD_LIBRARY_PATH=str(tmp_path))
    assert done.returncode == 1
    assert "no GPU can be read" in done.stderr


def test_everything_hangs_and_the_quick_level_still_ends(appliance_command, gpu_environ, make_host):
    card = {"vendor": "0x10de", "class": "0x030200", "device": "0x20f1"}
    files = {f"/sys/bus/pci/devices/0000:00:06.0/{name}": value for name, value in card.items()}
    bound = {"/sys/bus/pci/devices/0000:00:06.0/driver": "../../../bus/pci/drivers/nvidia"}
    hang = dict.fromkeys(("docker", "timedatectl", "journalctl", "mokutil", "nvidia-ctk"), "sleep 60")
    host = make_host(files={**files, "/sys/module/nvidia/version": "525.60.13"}, links=bound, commands=hang)
    driver = gpu_environ("a100-40", {"Init": "hang"})
    begun = time.monotonic()
    done = appliance_command(
        "preflight", "--stage", "host", "--root", str(host.root), PATH=host.environ["PATH"], **driver
    )
    assert time.monotonic() - begun < 10  # the bound is 5 s; a busy machine may take longer to start Python
    assert done.returncode == 1
    assert "gave no answer in" in done.stdout
    assert "skip (needs nvml.init)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"facts": {"host.arch": {"fact": None, "problem": 5, "duration_ms": 1}}}, "lacks parts"),
        ({"facts": {"host.arch": {"fact": None, "problem": None, "duration_ms": "1"}}}, "lacks parts"),
        ({"left_out": None}, "lacks parts"),
        ({"need": {**Need().fact(), "ram_gib": "much"}}, "`need` section"),
        ({"need": {**Need().fact(), "archs": [80]}}, "`need` section"),
    ],
)
def test_facts_of_wrong_types_are_not_judged(appliance_command, tmp_path, change, said):
    file = tmp_path / "facts.json"
    assert appliance_command("preflight", "--only", "host.arch", "--dump-facts", str(file)).returncode == 0
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    done = appliance_command("preflight", "--replay", str(file))
    assert done.returncode == 2
    assert said in done.stderr
