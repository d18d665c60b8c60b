"""Cases of the checks on the virtual machine. The format of every file here:

id, case (what is the matter), status; then either `fact` (judged as it is) or what `make_host` takes (files, links,
commands, environ, gpu, nvml), probed and judged. Optional: `need` (changes to the default Need), `says` (text that must
be in found, why or fix), `reboot`.
"""


def release(id, version, name):
    return {"/etc/os-release": f'PRETTY_NAME="{name}"\nID={id}\nVERSION_ID="{version}"\n'}


CASES = [
    {"id": "host.os", "case": "jammy", "status": "pass", "files": release("ubuntu", "22.04", "Ubuntu 22.04.5 LTS")},
    {"id": "host.os", "case": "noble", "status": "pass", "files": release("ubuntu", "24.04", "Ubuntu 24.04.1 LTS")},
    {"id": "host.os", "case": "rocky", "status": "warn", "files": release("rocky", "9.4", "Rocky Linux 9.4")},
    {"id": "host.os", "case": "no file", "status": "skip"},
    {"id": "host.cpu", "case": "reference VM", "status": "pass", "fact": {"cpus": 16, "limit": None}},
    {"id": "host.cpu", "case": "half", "status": "warn", "fact": {"cpus": 8, "limit": None}},
    {"id": "host.cpu", "case": "cgroup", "status": "fail", "fact": {"cpus": 16, "limit": 2.0}, "says": "2 CPUs (of 16"},
    {"id": "host.cpu", "case": "no GPU to feed", "status": "pass", "fact": {"cpus": 2, "limit": None}, "need": {"gpus": 0}},
    {"id": "host.cpu", "case": "one for all", "status": "warn", "fact": {"cpus": 1, "limit": None}, "need": {"gpus": 0}},
    {"id": "host.clock", "case": "synced", "status": "pass", "commands": {"timedatectl": "echo yes"}},
    {"id": "host.clock", "case": "adrift", "status": "warn", "commands": {"timedatectl": "echo no"}, "says": "set-ntp"},
    {"id": "host.clock", "case": "no bus", "status": "skip", "commands": {"timedatectl": "echo no bus >&2; exit 1"}},
    {"id": "host.clock", "case": "no command", "status": "skip"},
    {"id": "host.clock", "case": "container", "status": "pass", "fact": {"kernel": {"error": None, "max_error_us": 41_000}}},
    {"id": "host.clock", "case": "container adrift", "status": "warn", "says": "on the host",
     "fact": {"kernel": {"error": None, "max_error_us": 16_000_000}}},
    {"id": "host.clock", "case": "container refused", "status": "skip", "fact": {"kernel": {"error": "not permitted"}}},
]  # fmt: skip
