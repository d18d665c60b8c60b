"""Ports, the hub, and weights that are already here."""

import errno
import re
import socket
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed


def probe_ports(host: Host) -> dict[str, Any]:
    """Of every port in use by a listener: the pid and name of its holder where they may be seen."""
    found: dict[str, Any] = {}
    for port, inode in listeners(host):
        found.setdefault(str(port), holder(host, inode))
    for port in Need().ports:  # the kernel's own word: a port can be taken where /proc shows nothing
        if str(port) not in found and not can_bind(port):
            found[str(port)] = None
    return found


def listeners(host: Host) -> list[tuple[int, str]]:
    """(port, socket inode) of every TCP listener, IPv4 and IPv6."""
    found = []
    for table in ("tcp", "tcp6"):
        for line in (host.read_text(f"/proc/net/{table}") or "").splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9 and columns[3] == "0A":  # LISTEN
                found.append((int(columns[1].rpartition(":")[2], 16), columns[9]))
    return found


def holder(host: Host, inode: str) -> dict[str, str] | None:
    """The process that has a socket open; None where it is another user's and this one may not look."""
    for pid in filter(str.isdigit, host.listdir("/proc")):
        for number in host.listdir(f"/proc/{pid}/fd"):
            if host.readlink(f"/proc/{pid}/fd/{number}") == f"socket:[{inode}]":
                return {"pid": pid, "name": host.read_text(f"/proc/{pid}/comm") or "?"}
    return None


def can_bind(port: int) -> bool:
    """Whether the port is free, by taking it for a moment."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("0.0.0.0", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def judge_ports(fact: dict[str, Any], need: Need) -> Verdict:
    """Every port that is needed is free, or the holder is named."""
    expected = f"free: {', '.join(map(str, need.ports))}"
    for port in need.ports:
        if str(port) in fact:
            by = fact[str(port)]
            name = f"{by['name']} (pid {by['pid']})" if by else "a process of another user"
            look = f"ps -fp {by['pid']}" if by else f"sudo ss -ltnp 'sport = :{port}'"
            return fail(
                f"port {port} is taken by {name}",
                expected,
                why="The page cannot listen there. If it is the appliance itself that runs already, all is well.",
                fix=f"{look}\n# stop that service, or set another port for the page",
            )
    return passed(re.sub("^free: ", "", expected) + " free")


CHECKS = (
    Check(
        id="net.ports",
        title="Ports",
        section="Network and weights",
        scope="host",
        probe=probe_ports,
        judge=judge_ports,
        blocking=True,
        explain="""Looks for listeners on the page's port before it is started, and names the process that holds it.
        Another user's process can be named only by root: then the fix line asks with sudo.""",
    ),
)
