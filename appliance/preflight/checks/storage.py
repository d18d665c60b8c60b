"""Room on the disks, and whether the data folder can be written."""

import errno
import os
import uuid
from pathlib import PurePosixPath
from typing import Any

from appliance.preflight import fixes
from appliance.preflight.check import Check
from appliance.preflight.checks._docker import docker_info
from appliance.preflight.host import Host
from appliance.preflight.need import GIB, Need
from appliance.preflight.verdict import Verdict, fail, passed, skip, warn

LOW_SHARE = 0.2  # of the disk free: less warns
PLENTY_GIB = 200  # free: enough whatever the share is
FULL_GIB = 1  # free: less and nothing can be saved
IMAGE_GIB = 20  # free where Docker keeps images: to pull and unpack one


def data_folder(host: Host) -> str:
    """Absolute path of the folder that holds the runs."""
    return os.path.abspath(host.environ.get("APPLIANCE_DATA") or "appliance-data")


def standing(host: Host, folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    path = PurePosixPath(folder)
    return str(next((p for p in (path, *path.parents) if host.exists(str(p))), PurePosixPath("/")))


def probe_data(host: Host) -> dict[str, Any]:
    """The data folder, and bytes and inodes of the disk that it is or will be on (None: cannot be asked)."""
    folder = data_folder(host)
    return {"folder": folder, "disk": host.statvfs(standing(host, folder))}


def judge_data(fact: dict[str, Any], need: Need) -> Verdict:
    """What the recipe needs is free; without a recipe a fifth of the disk, or 200 GiB."""
    disk = fact["disk"]
    if disk is None:
        return skip(f"the disk of {fact['folder']} cannot be asked")
    free = disk["free_bytes"] / GIB
    found = f"{free:.1f} of {disk['total_bytes'] / GIB:.1f} GiB free at {fact['folder']}"
    required = max(FULL_GIB, need.disk_gib or 0)
    plenty = f"{LOW_SHARE:.0%} of the disk, or {PLENTY_GIB} GiB, free"
    expected = f"{required:g} GiB free for this recipe" if need.disk_gib else plenty
    if free < required:
        return fail(
            found,
            f"at least {required:g} GiB free" if required == FULL_GIB else expected,
            why="A run would stop at its first checkpoint that does not fit, and what was computed since is lost.",
            fix=fixes.GROW_DISK,
        )
    if disk["free_inodes"] < 0.02 * disk["total_inodes"]:  # some file systems count none: both are 0 there
        return warn(
            f"{disk['free_inodes']} of {disk['total_inodes']} inodes free at {fact['folder']}",
            "2 % of the inodes free",
            why="The disk has room, but soon takes no more files: saving then fails with 'No space left on device'.",
            fix="sudo du --inodes -xd3 / 2>/dev/null | sort -n | tail -15   # folders with most files: empty what is not used",
        )
    if free >= LOW_SHARE * disk["total_bytes"] / GIB or free >= PLENTY_GIB:
        return passed(found, expected)
    return warn(
        found,
        plenty,
        why="Each run keeps checkpoints and an exported model; a few more runs and the disk is full.",
        fix="appliance runs   # old ones can be deleted\n" + fixes.GROW_DISK,
    )


def probe_docker_disk(host: Host) -> dict[str, Any]:
    """The folder where Docker keeps images, and its disk; None where the engine does not tell or is elsewhere."""
    folder = docker_info(host).get("DockerRootDir") or None
    return {"folder": folder, "disk": host.statvfs(folder) if folder else None}


def judge_docker_disk(fact: dict[str, Any], need: Need) -> Verdict:
    """20 GiB free, for an image to be pulled and unpacked."""
    if fact["disk"] is None:
        return skip(f"{fact['folder'] or 'the folder of images'} is not on this machine or cannot be asked")
    free = fact["disk"]["free_bytes"] / GIB
    found = f"{free:.1f} of {fact['disk']['total_bytes'] / GIB:.1f} GiB free at {fact['folder']}"
    expected = f"{IMAGE_GIB} GiB free"
    if free >= IMAGE_GIB:
        return passed(found, expected)
    say = fail if free < FULL_GIB else warn
    return say(
        found,
        expected,
        why="Pulling or upgrading the image needs room for the packed and the unpacked layers, beside the image that runs. "
        "With a full disk containers do not start either.",
        fix="docker system df\ndocker image prune   # deletes images without a name\n" + fixes.GROW_DISK,
    )


def probe_writable(host: Host) -> dict[str, Any]:
    """Tries the data folder with a small file, made, flushed to the disk and removed. `error`: errno's name, or None."""
    folder = data_folder(host)
    at = standing(host, folder)
    file = host.path(at) / f".preflight-{uuid.uuid4().hex}"
    error = None
    try:
        number = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.write(number, b"preflight\n")
            os.fsync(number)
        finally:
            os.close(number)
            os.unlink(file)
    except OSError as problem:
        error = errno.errorcode.get(problem.errno or 0, str(problem))
    try:
        owner = host.path(at).stat().st_uid
    except OSError:
        owner = None
    return {"folder": folder, "tried": at, "error": error, "uid": os.geteuid(), "owner": owner}


def judge_writable(fact: dict[str, Any], need: Need) -> Verdict:
    """The file could be made."""
    where = fact["tried"]
    expected = f"user {fact['uid']} can write"
    if fact["error"] is None:
        return passed(f"{where} takes a file", expected)
    missing = "" if where == fact["folder"] else f" ({fact['folder']} is not there yet)"
    whys = {
        "EROFS": (
            "The volume is mounted read-only, so no run can be saved.",
            "# in compose.yaml: take `:ro` or `read_only: true` from this volume\ndocker compose up -d",
        ),
        "ENOSPC": ("The disk is full, so no run can be saved.", fixes.GROW_DISK),
        "EDQUOT": ("The quota of this user is used up, so no run can be saved.", fixes.GROW_DISK),
        "ENOTDIR": (
            "Something on the way to the data folder is a file, not a folder.",
            f"ls -ld {where}   # then correct APPLIANCE_DATA or the volume in compose.yaml",
        ),
    }
    owner = "" if fact["owner"] is None else f" It belongs to user {fact['owner']}."
    unmounted = (
        f"{fact['folder']} is not there, and the folder above it cannot be written: no volume is mounted there, so no run "
        "can be saved.",
        f"# in compose.yaml, at the service:\n#   volumes: ['./data:{fact['folder']}']\ndocker compose up -d",
    )
    if missing and fact["error"] in ("EROFS", "EACCES", "EPERM"):
        whys[fact["error"]] = unmounted
    why, fix = whys.get(
        fact["error"],
        (
            f"This container runs as user {fact['uid']}, who may not write there, so no run can be saved.{owner}",
            f"# on the host; take the folder that compose.yaml mounts there\nsudo chown -R {fact['uid']}:{fact['uid']} FOLDER",
        ),
    )
    return fail(f"{where}: {fact['error']}{missing}", expected, why=why, fix=fix)


CHECKS = (
    Check(
        id="disk.data",
        title="Room for runs",
        section="VM",
        scope="both",
        probe=probe_data,
        judge=judge_data,
        blocking=True,
        explain="""Asks the disk that holds the data folder (APPLIANCE_DATA) for free space and free inodes. A run writes
        checkpoints, logs and an exported model. With --config the recipe's own need decides; without, less than a fifth
        free warns, unless 200 GiB are free. A disk cloned from an image in Prism is often as small as the image.""",
    ),
    Check(
        id="disk.docker",
        title="Room for images",
        section="VM",
        scope="host",
        needs=("docker.engine",),
        probe=probe_docker_disk,
        judge=judge_docker_disk,
        explain="""Asks Docker where it keeps images and that disk for free space. The appliance's image with torch and the
        CUDA libraries is large, and an upgrade needs the old and the new one side by side for a while.""",
    ),
    Check(
        id="vol.writable",
        title="Data folder can be written",
        section="Container engine",
        scope="container",
        probe=probe_writable,
        judge=judge_writable,
        blocking=True,
        explain="""Makes a small file in the data folder as the container's own user, flushes it to the disk and removes it.
        Usual cause of a failure: Docker made the folder on the host as root, while the container runs as another user.
        No other check writes anything.""",
    ),
)
