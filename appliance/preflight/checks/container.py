"""The container engine on the host, and what the container was given."""

import json
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks.driver import version_numbers
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, warn

ENGINE_MAJOR = 25
GIB = 1 << 30


def probe_engine(host: Host) -> dict[str, Any]:
    """What `docker version` said, and the server's version in it (None: no server answered)."""
    ran = host.run("docker", "version", "--format", "{{json .}}")
    try:
        server = json.loads(ran["out"]).get("Server") or {}
    except (ValueError, AttributeError):
        server = {}
    return {"problem": ran["problem"], "code": ran["code"], "err": ran["err"][:500], "version": server.get("Version")}


def judge_engine(fact: dict[str, Any], need: Need) -> Verdict:
    """A server of version 25 or newer that this user may talk to."""
    expected = f"{ENGINE_MAJOR} or newer"
    if fact["version"]:
        if version_numbers(fact["version"])[:1] >= (ENGINE_MAJOR,):
            return passed(fact["version"], expected)
        return warn(
            fact["version"],
            expected,
            why="Older engines cannot hand over a GPU by CDI, and no longer get security fixes.",
            fix=fixes.DOCKER,
        )
    if fact["problem"] and "not installed" in fact["problem"]:
        return fail("not installed", expected, why="The appliance runs as containers.", fix=fixes.DOCKER)
    if "permission denied" in fact["err"].lower():
        return fail(
            "this user may not talk to Docker",
            expected,
            why="The engine's socket belongs to the group docker, and you are not in it.",
            fix="sudo usermod -aG docker $USER\n# log out and in again",
        )
    return fail(
        fact["problem"] or f"no server: {(fact['err'].splitlines() or ['no message'])[0]}",
        expected,
        why="The docker command is there, but the engine behind it does not run or does not answer.",
        fix="sudo systemctl restart docker\nsudo journalctl -u docker -n 50 --no-pager",
    )


def probe_shm(host: Host) -> dict[str, int] | None:
    """Size of /dev/shm."""
    return host.statvfs("/dev/shm")


def judge_shm(fact: dict[str, int] | None, need: Need) -> Verdict:
    """1 GiB or more."""
    size = fact["total_bytes"] if fact else 0
    found = f"{size / GIB:.2f} GiB" if fact else "there is no /dev/shm"
    if size >= GIB:
        return passed(found, "1 GiB or more")
    return warn(
        found,
        "1 GiB or more",
        why="Worker processes hand data over in shared memory; Docker's default of 64 MiB ends them with a bus error.",
        fix="# in compose.yaml, at the service:\n#   shm_size: 8gb\ndocker compose up -d",
    )


CHECKS = (
    Check(
        id="docker.engine",
        title="Docker Engine",
        section="Container engine",
        scope="host",
        needs=("docker.snap",),
        probe=probe_engine,
        judge=judge_engine,
        blocking=True,
        explain="""Runs `docker version` and looks for the server's answer. It tells apart an engine that is not
        installed, not running, hanging, too old, or one that this user may not talk to.""",
    ),
    Check(
        id="ctr.shm",
        title="Shared memory",
        section="Container engine",
        scope="container",
        probe=probe_shm,
        judge=judge_shm,
        explain="""The size of /dev/shm in this container. Docker gives 64 MiB unless told otherwise, which is too little
        for data workers: they die with a bus error in the middle of a run.""",
    ),
)
