"""The VMs that people have: one A100 on Nutanix AHV, everything right but one thing, which is told once and with its remedy."""

import pytest

from appliance.preflight import run
from appliance.preflight.need import Need
from appliance.preflight.run import Observation

KERNEL = "5.15.0-119-generic"
SLOT = "/sys/bus/pci/devices/0000:00:06.0"
SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
DRIVER_LINK = {f"{SLOT}/driver": "../../../bus/pci/drivers/nvidia"}
LIBRARIES = ("libnvidia-ml", "libcuda", "libnvidia-ptxjitcompiler")
LOG = 'case "$*" in *grep*) exit 1 ;; *) echo Linux version 5.15.0 ;; esac'  # lines, and none that matters
GPU_SECTIONS = ("PCI and driver", "GPU health", "CUDA")


def vm(driver=None, *, on_disk=True, secure_boot=False):
    """Files of the VM, with the nvidia module of this version loaded, or none."""
    files = {
        "/etc/os-release": 'ID=ubuntu\nVERSION_ID="22.04"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "/sys/class/dmi/id/sys_vendor": "Nutanix\n",
        "/sys/class/dmi/id/product_name": "AHV\n",
        "/proc/cpuinfo": "flags\t\t: fpu sse2 hypervisor\n",
        "/proc/sys/kernel/osrelease": f"{KERNEL}\n",
        f"/lib/modules/{KERNEL}/modules.dep": "updates/dkms/nvidia.ko:\n" if on_disk else "kernel/fs/ext4.ko:\n",
        f"{SLOT}/vendor": "0x10de\n",
        f"{SLOT}/class": "0x030200\n",
        f"{SLOT}/device": "0x20f1\n",
        SECURE_BOOT: b"\x06\0\0\0\x01" if secure_boot else b"\x06\0\0\0\0",
        "/proc/modules": "ext4 1 0 - Live 0x0\n",
    }
    if driver:
        files["/sys/module/nvidia/version"] = f"{driver}\n"
        files["/proc/modules"] = "nvidia_uvm 1 0 - Live 0x0\nnvidia 56 2 nvidia_uvm, Live 0x0\n"
        files |= {f"/dev/{name}": "" for name in ("nvidia0", "nvidiactl", "nvidia-uvm")}
    return files


def libraries(driver):
    return {f"/usr/lib/x86_64-linux-gnu/{name}.so.1": f"{name}.so.{driver}" for name in LIBRARIES}


class RightElsewhere(run.Live):
    """Probes of this host, and for the checks in `facts` what their green case found."""

    def __init__(self, host, level, facts):
        super().__init__(host, level)
        self.facts, self.ready = facts, []

    def start(self, check):
        if check.id in self.facts:
            self.ready.append((check.id, Observation(self.facts[check.id], None, 1)))
        else:
            super().start(check)

    def next(self):
        return self.ready.pop() if self.ready else super().next()


@pytest.fixture
def report(make_host, cases):
    """report(files=, ...) -> Report of all checks of the GPU on this host; Docker, disk and network have nothing amiss."""
    green = {c["id"]: c["fact"] for c in cases if c["status"] == "pass" and "fact" in c and "need" not in c}

    def make(level="full", stage="host", **machine):
        commands = {"journalctl": LOG, **machine.pop("commands", {})}
        host = make_host(commands=commands, **machine)
        chosen = run.select(stage, level)
        facts = {c.id: green[c.id] for c in chosen if c.section not in GPU_SECTIONS and c.id in green}
        chosen = [c for c in chosen if c.section in GPU_SECTIONS or c.id in facts]
        outcomes = run.examine(chosen, Need(), RightElsewhere(host, level, facts))
        return run.Report(stage, level, Need(), outcomes, (), 1.0)

    return make


def ids_with(found, status):
    return {outcome.check.id for outcome in found.outcomes if outcome.verdict.status == status}


def verdict(found, id):
    return next(outcome.verdict for outcome in found.outcomes if outcome.check.id == id)


def above(found, id):
    """Checks that stand on this one, through others too."""
    reached = {id}
    while more := {o.check.id for o in found.outcomes if reached & set(o.check.needs)} - reached:
        reached |= more
    return reached - {id}


def assert_one_failure(found, id):
    """It alone fails, nothing else is wrong, and all that stands on it is skipped in its name."""
    assert ids_with(found, "fail") == {id}
    assert ids_with(found, "warn") == set()
    assert above(found, id), "something must stand on it, or this says nothing"
    assert {verdict(found, other).found for other in above(found, id)} == {f"needs {id}"}
    assert found.exit_code() == 1


def test_driver_515_86_01_is_the_one_failure(report):
    found = report(files=vm("515.86.01"), links=DRIVER_LINK | libraries("515.86.01"), gpu="old-driver")
    assert_one_failure(found, "drv.min")
    told = verdict(found, "drv.min")
    assert told.found == "driver 515.86.01"
    assert told.expected == "525.60.13 or newer, for CUDA 12.6"
    assert "sudo apt-get install -y linux-modules-nvidia-580-server-" in told.fix
    assert told.reboot
    assert {"drv.cuda", "drv.branch_eol", "cuda.init", "torch.cuda", "torch.matmul"} <= above(found, "drv.min")
    assert verdict(found, "virt.mode").found == "passthrough on Nutanix AHV"
    assert verdict(found, "gpu.responds").status == verdict(found, "gpu.xid").status == "pass"


def test_grid_525_60_13_in_passthrough_warns_and_exits_with_0(report):
    grid = {"/usr/bin/nvidia-gridd": "", "/proc/814/comm": "nvidia-gridd\n"}
    found = report("quick", files=vm("525.60.13") | grid, links=DRIVER_LINK | libraries("525.60.13"), gpu="a100-40")
    assert ids_with(found, "fail") == set()
    assert ids_with(found, "warn") == {"drv.flavor", "drv.cuda", "drv.branch_eol"}
    assert found.exit_code() == 0
    assert found.exit_code("warn") == 1
    assert verdict(found, "drv.min").found == "driver 525.60.13"
    assert verdict(found, "vgpu.licence").status == "pass"


def test_the_same_as_a_command(appliance_command, make_host, gpu_environ):
    """Exit codes of the process: 525.60.13 GRID passes with warnings, and 515.86.01 does not."""
    only = "nvml.init,drv.min,drv.flavor,drv.branch_eol,drv.cuda,virt.mode,gpu.responds,cuda.init"

    def ran(driver, gpu):
        host = make_host(files=vm(driver) | {"/usr/bin/nvidia-gridd": ""})
        arguments = ("preflight", "--stage", "host", "--level", "full", "--root", str(host.root), "--only", only)
        return appliance_command(*arguments, **gpu_environ(gpu))

    good = ran("525.60.13", "a100-40")
    assert (good.returncode, good.stdout.count("WARN "), good.stdout.count("FAIL ")) == (0, 3, 0), good.stdout
    bad = ran("515.86.01", "old-driver")
    assert (bad.returncode, bad.stdout.count("FAIL ")) == (1, 1), bad.stdout
    assert "driver 515.86.01" in bad.stdout


def test_no_module_is_one_failure(report):
    found = report(files=vm(on_disk=False))
    assert_one_failure(found, "mod.nvidia_loaded")
    assert "580-server" in verdict(found, "mod.nvidia_loaded").fix
    assert verdict(found, "pci.driver_bound").status == "pass"


def test_no_module_under_secure_boot_is_not_blamed_on_it(report):
    assert_one_failure(report(files=vm(on_disk=False, secure_boot=True)), "mod.nvidia_loaded")


@pytest.mark.parametrize("stage", ["host", "container"])
def test_nouveau_on_the_card_is_one_failure(report, stage):
    files = vm() | {"/proc/modules": "nouveau 1 0 - Live 0x0\n"}
    found = report(stage=stage, files=files, links={f"{SLOT}/driver": "../../../bus/pci/drivers/nouveau"})
    assert_one_failure(found, "pci.driver_bound")
    assert "blacklist nouveau" in verdict(found, "pci.driver_bound").fix


def test_secure_boot_is_one_failure(report):
    refusal = {"journalctl": "echo 'Loading of unsigned module is rejected'"}
    found = report(files=vm(secure_boot=True), commands=refusal)
    assert_one_failure(found, "mod.secureboot")
    assert "linux-modules-nvidia-580-server" in verdict(found, "mod.secureboot").fix


def test_a_missing_uvm_node_is_one_failure(report):
    files = vm("580.95.05")
    del files["/dev/nvidia-uvm"]
    found = report(files=files, links=DRIVER_LINK | libraries("580.95.05"), gpu="a100-80")
    assert (ids_with(found, "fail"), ids_with(found, "warn")) == ({"mod.uvm_nodes"}, set())
    assert "nvidia-modprobe -u" in verdict(found, "mod.uvm_nodes").fix


def test_libraries_of_two_drivers_are_one_failure(report):
    links = DRIVER_LINK | libraries("580.95.05") | {"/usr/lib/x86_64-linux-gnu/libcuda.so.1": "libcuda.so.570.133.20"}
    found = report(files=vm("580.95.05"), links=links, gpu="a100-80")
    assert (ids_with(found, "fail"), ids_with(found, "warn")) == ({"drv.lib_match"}, set())


def test_an_unlicensed_vgpu_is_one_failure(report):
    links, nvml = DRIVER_LINK | libraries("525.60.13"), {"DeviceGetGridLicensableFeatures": "1,4,4"}
    files = vm("525.60.13") | {"/usr/bin/nvidia-gridd": ""}
    found = report(files=files, links=links, gpu="vgpu", nvml=nvml)
    assert ids_with(found, "fail") == {"vgpu.licence"}
    assert "ClientConfigToken" in verdict(found, "vgpu.licence").fix


def test_no_gpu_is_one_failure(report):
    files = {name: text for name, text in vm(on_disk=False).items() if not name.startswith(SLOT)}
    found = report(files=files)
    assert_one_failure(found, "pci.gpu_present")
    assert "Add GPU" in verdict(found, "pci.gpu_present").fix


def test_a_datacenter_driver_that_refuses_a_vgpu_is_one_failure(report):
    line = "NVRM: The NVIDIA GPU (PCI ID: 10de:20b5) is not supported by the NVIDIA 580.95.05 driver release."
    files = vm("580.95.05")
    found = report(files=files, gpu="vgpu", nvml={"Init": "!9"}, commands={"journalctl": f'echo "{line}"'})
    assert_one_failure(found, "pci.driver_bound")
    assert "GRID guest driver" in verdict(found, "pci.driver_bound").why
