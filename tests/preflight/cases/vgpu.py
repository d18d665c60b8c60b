"""Cases of passthrough against vGPU, the driver's build, and the vGPU licence."""

A100 = "a100-40"
AHV = {"/sys/class/dmi/id/sys_vendor": "Nutanix\n", "/sys/class/dmi/id/product_name": "AHV\n"}
VM = {"/proc/cpuinfo": "processor : 0\nflags\t\t: fpu vme hypervisor lahf_lm\n"}
METAL = {"/proc/cpuinfo": "processor : 0\nmodel name : hypervisor\nflags\t\t: fpu vme lahf_lm\n"}
DRIVER = {"/sys/module/nvidia/version": "525.60.13\n"}
LOG = "/var/log/nvidia-installer.log"
GRID_LOG = {LOG: "nvidia-installer command line:\n    ./NVIDIA-Linux-x86_64-525.60.13-grid.run --silent\n"}
DPKG = "echo 'ii  nvidia-linux-grid-525'; echo 'rc  nvidia-linux-grid-510'"


def mode(case, status, number, *, files=None, says=""):
    nvml = {"DeviceGetVirtualizationMode": str(number)}
    return {
        "id": "virt.mode",
        "case": case,
        "status": status,
        "gpu": A100,
        "nvml": nvml,
        "files": files or {},
        "says": says,
    }


def flavor(case, status, **rest):
    return {"id": "drv.flavor", "case": case, "status": status, "gpu": A100, **rest}


def licence(case, status, *, virtualization=2, features=(), supported=True, daemon=None, unread=False, says=""):
    told = {"error": 3, "name": "Not Supported"} if unread else {"supported": supported, "features": list(features)}
    gpu = {"index": 0, "virtualization": virtualization, "license": told}
    fact = {"init": {"error": 0, "name": "Success"}, "devices": [gpu], "daemon": daemon}
    return {"id": "vgpu.licence", "case": case, "status": status, "fact": fact, "says": says}


CASES = [
    mode("passthrough on AHV", "pass", 1, files=AHV | VM, says="passthrough on Nutanix AHV"),
    mode("hidden hypervisor", "pass", 0, files=VM, says="hides itself"),
    mode("bare metal", "pass", 0, files=METAL, says="no virtualization"),
    mode("host of vGPUs", "fail", 3, says="mode 3"),
    mode("host by SR-IOV", "fail", 4, says="mode 4"),
    mode("not told", "skip", "!3"),
    {"id": "virt.mode", "case": "vGPU", "status": "warn", "gpu": "vgpu", "says": "Passthrough instead of vGPU"},
    flavor("datacenter", "pass", files=DRIVER, says="datacenter driver"),
    flavor("daemon", "warn", files=DRIVER | {"/usr/bin/nvidia-gridd": ""}, says="/usr/bin/nvidia-gridd", reboot=True),
    flavor("daemon runs", "warn", files=DRIVER | {"/proc/814/comm": "nvidia-gridd\n"}, says="nvidia-gridd runs"),
    flavor("installer", "warn", files=DRIVER | GRID_LOG, says="installed from a 525.60.13-grid.run"),
    flavor("log of an earlier driver", "pass", files=GRID_LOG | {"/sys/module/nvidia/version": "580.95.05\n"}),
    flavor("package", "warn", files=DRIVER, commands={"dpkg-query": DPKG}, says="(nvidia-linux-grid-525)"),
    flavor("package removed", "pass", files=DRIVER, commands={"dpkg-query": "echo 'rc  nvidia-linux-grid-510'"}),
    flavor("by NVML", "warn", nvml={"DeviceGetGridLicensableFeatures": "1,4,4"}, says="asks for a licence"),
    flavor("container", "pass", files={"/.dockerenv": ""}),
    flavor("container, not told", "skip", files={"/.dockerenv": ""}, nvml={"DeviceGetGridLicensableFeatures": "!3"}),
    flavor("vGPU", "pass", gpu="vgpu", says="GRID guest driver"),
    flavor("datacenter on vGPU", "fail", gpu="vgpu", nvml={"DeviceGetGridLicensableFeatures": "!3"}, reboot=True),
    {"id": "vgpu.licence", "case": "no vGPU", "status": "pass", "gpu": A100, "says": "no vGPU"},
    {"id": "vgpu.licence", "case": "vGPU", "status": "pass", "gpu": "vgpu"},
    {
        "id": "vgpu.licence",
        "case": "daemon's words",
        "status": "fail",
        "gpu": "vgpu",
        "nvml": {"DeviceGetGridLicensableFeatures": "1,4,3"},
        "commands": {"journalctl": "echo started; echo 'Failed to acquire license from 10.0.0.5'"},
        "says": "Failed to acquire license from 10.0.0.5",
    },
    licence("one of two", "pass", features=[[2, 4], [4, 5]]),
    licence("only the daemon tells", "pass", unread=True, daemon="License acquired successfully. (Info: ...)"),
    licence("grace", "warn", features=[[4, 2]], says="grace period"),
    licence("restricted", "fail", features=[[4, 3]], says="busy or unavailable"),
    licence("none", "fail", features=[[4, 4]], says="ClientConfigToken"),
    licence("not asked yet", "warn", features=[[4, 1]], says="unknown"),
    licence("not told", "warn", unread=True, says="unknown"),
    licence("datacenter driver", "skip", supported=False),
    licence(
        "old driver on a whole GPU", "pass", virtualization={"error": 13, "name": "Function Not Found"}, unread=True
    ),
]
