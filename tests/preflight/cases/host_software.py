"""Cases of pending reboots, upgrades by themselves, and the kernel of the next boot."""

APT = "/etc/apt/apt.conf.d/"
ON = {APT + "20auto-upgrades": 'APT::Periodic::Update-Package-Lists "1";\nAPT::Periodic::Unattended-Upgrade "1";\n'}
OFF = {APT + "20auto-upgrades": 'APT::Periodic::Unattended-Upgrade "0";\n'}
UBUNTU = {  # as Ubuntu ships it: the list is there, its lines are comments
    APT + "50unattended-upgrades": 'Unattended-Upgrade::Package-Blacklist {\n    // "linux-";\n//  "nvidia-";\n};\n'
}
LEFT_OUT = {APT + "51keep-driver": 'Unattended-Upgrade::Package-Blacklist { "linux-"; "nvidia-"; "libnvidia-"; };\n'}
ROWS = [
    "libnvidia-compute-580-server ii ",
    "libnvidia-container1 ii ",
    "linux-modules-nvidia-580-server-generic ii ",
    "nvidia-container-toolkit ii ",
    "nvidia-utils-535-server rc ",  # removed, its settings are still there
    "nvidia-utils-580-server ii ",
]
PACKAGES = "printf '%s\\n' " + " ".join(f"'{row}'" for row in ROWS)
HELD = "printf '%s\\n' libnvidia-compute-580-server linux-modules-nvidia-580-server-generic nvidia-utils-580-server"


def apt(held=":", packages=PACKAGES):
    return {"apt-mark": held, "dpkg-query": packages}


OLD, NEW, NEWER = "6.8.0-45-generic", "6.8.0-99-generic", "6.8.0-100-generic"


def kernels(running, modules, images=(OLD, NEW), driver="580.95.05"):
    return {
        "/proc/sys/kernel/osrelease": f"{running}\n",
        "/sys/module/nvidia/version": f"{driver}\n",
        **{f"/boot/vmlinuz-{name}": "" for name in images},
        "/boot/vmlinuz.old": "",
        **{f"/lib/modules/{name}/modules.dep": f"kernel/fs/ext4.ko: \n{text}" for name, text in modules.items()},
    }


SIGNED = (
    "kernel/nvidia-580srv/nvidia.ko: kernel/a.ko\nkernel/nvidia-580srv/nvidia-uvm.ko: kernel/nvidia-580srv/nvidia.ko\n"
)
DKMS = "updates/dkms/nvidia.ko.zst:\n"
ONLY_UVM = "kernel/nvidia-580srv/nvidia-uvm.ko: \n"

CASES = [
    {"id": "host.reboot_required", "case": "none", "status": "pass"},
    {"id": "host.reboot_required", "case": "kernel", "status": "warn", "reboot": True, "says": "host.kernel_next must pass first",
     "files": {"/run/reboot-required": "*** System restart required ***\n",
               "/run/reboot-required.pkgs": "linux-image-6.8.0-99-generic\nlinux-base\nlinux-base\n"}},
    {"id": "host.reboot_required", "case": "driver named first", "status": "warn", "says": "asked by libnvidia-compute-580",
     "files": {"/run/reboot-required": "", "/run/reboot-required.pkgs": "dbus\nlibc6\nlinux-base\nlibnvidia-compute-580\n"}},
    {"id": "host.reboot_required", "case": "nobody named", "status": "warn", "files": {"/var/run/reboot-required": ""}},
    {"id": "host.unattended_nvidia", "case": "off", "status": "pass", "files": OFF, "commands": apt()},
    {"id": "host.unattended_nvidia", "case": "not installed", "status": "pass", "commands": apt()},
    {"id": "host.unattended_nvidia", "case": "as Ubuntu ships it", "status": "warn", "files": ON | UBUNTU,
     "commands": apt(), "says": "3 of 3 driver packages"},
    {"id": "host.unattended_nvidia", "case": "held", "status": "pass", "files": ON | UBUNTU, "commands": apt(HELD)},
    {"id": "host.unattended_nvidia", "case": "left out", "status": "pass", "files": ON | UBUNTU | LEFT_OUT,
     "commands": apt()},
    {"id": "host.unattended_nvidia", "case": "a part held", "status": "warn", "files": ON,
     "commands": apt("echo nvidia-utils-580-server"), "says": "2 of 3"},
    {"id": "host.unattended_nvidia", "case": "a pattern that is none", "status": "warn", "commands": apt(),
     "files": ON | {APT + "51x": 'Unattended-Upgrade::Package-Blacklist:: "*nvidia";\n'}},
    {"id": "host.unattended_nvidia", "case": "no driver from apt", "status": "pass", "files": ON,
     "commands": apt(packages="echo no packages found >&2; exit 1")},
    {"id": "host.unattended_nvidia", "case": "no dpkg", "status": "skip", "files": ON},
    {"id": "host.kernel_next", "case": "same kernel", "status": "pass", "files": kernels(NEW, {NEW: SIGNED}),
     "says": "which runs now"},
    {"id": "host.kernel_next", "case": "newer one has it", "status": "pass",
     "files": kernels(OLD, {OLD: SIGNED, NEW: SIGNED}), "says": f"now {OLD}"},
    {"id": "host.kernel_next", "case": "newer one lacks it", "status": "warn",
     "files": kernels(OLD, {OLD: SIGNED, NEW: ONLY_UVM}), "says": f"linux-modules-nvidia-580-server-{NEW}"},
    {"id": "host.kernel_next", "case": "100 comes after 99", "status": "warn", "says": f"kernel {NEWER} has none",
     "files": kernels(NEW, {NEW: SIGNED, NEWER: ""}, images=(NEW, NEWER))},
    {"id": "host.kernel_next", "case": "dkms", "status": "warn", "files": kernels(OLD, {OLD: DKMS, NEW: ""}),
     "says": f"dkms autoinstall -k {NEW}"},
    {"id": "host.kernel_next", "case": "old branch", "status": "warn", "says": f"linux-modules-nvidia-580-server-{NEW}",
     "files": kernels(OLD, {OLD: SIGNED, NEW: ""}, driver="525.60.13")},
    {"id": "host.kernel_next", "case": "module from elsewhere", "status": "skip", "files": kernels(NEW, {NEW: ""})},
    {"id": "host.kernel_next", "case": "no kernel on disk", "status": "skip"},
]  # fmt: skip
