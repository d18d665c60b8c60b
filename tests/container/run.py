"""`make test-container`: builds the image and runs the whole appliance in containers, with a Docker engine of its own.

Exit code 0: everything held. 1: something did not, and what. 75: this machine cannot run an engine (SKIPPED, with the
reason): nothing was tested, so it counts as skipped.

Steps: engine -> base image by debootstrap -> image with the CPU build of torch -> what is in it -> what Compose reads ->
the demo without a network -> compose up -> sign in -> the demo by the API -> worker restarted, killed, everything
stopped and started again.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TORCH = os.environ.get("TORCH", "torch==2.13.0")
IMAGE, PROJECT, PORT = "rlhf-appliance:container-test", "appliance-test", 17860
SKIPPED = 75
PASSWORD = "a long password for a test"
STEPS = 60


class Failed(Exception):
    """Something did not hold."""


def check(holds: bool, what: str) -> None:
    if not holds:
        raise Failed(what)
    print(f"  ok    {what}", flush=True)


def run(*command: str, quiet: bool = True, allow: tuple[int, ...] = (0,), **options: Any) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if done.returncode not in allow:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{tail}")
    return done.stdout


def within(seconds: float, question: Callable[[], Any], what: str) -> Any:
    """The question's first answer that is not false. Raises Failed when none came in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            answer = question()
            if answer:
                return answer
        time.sleep(0.5)
    raise Failed(f"not within {seconds:.0f} s: {what}")


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    print(f"{name} ...", flush=True)
    began = time.monotonic()
    yield
    print(f"  {time.monotonic() - began:.0f} s", flush=True)


@contextlib.contextmanager
def engine() -> Iterator[Path]:
    """A Docker engine whose everything is in one folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="appliance-container-"))
    try:
        with (folder / "engine.out").open("w") as out:
            started = subprocess.run(
                [HERE / "engine.sh", "start", folder], check=False, stdout=out, stderr=subprocess.PIPE, text=True
            )
        if started.returncode == SKIPPED:
            print(started.stderr.strip(), flush=True)
            sys.exit(SKIPPED)
        if started.returncode:
            raise Failed(f"the engine did not start: {started.stderr}")
        os.environ["DOCKER_HOST"] = (folder / "engine.out").read_text().split()[-1]
        if (folder / "client").is_dir():
            os.environ["DOCKER_CONFIG"] = str(folder / "client")
        yield folder
    finally:
        subprocess.run([HERE / "engine.sh", "stop", folder], check=False)


def base_image(folder: Path) -> None:
    """A Debian with Python, from the distribution's packages; it trusts what this machine trusts."""
    root = folder / "root"
    run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", str(root))
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.exists():
        shutil.copyfile(bundle, root / "etc/ssl/certs/ca-certificates.crt")
    packed = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    run("docker", "import", "-", "appliance-base:test", stdin=packed.stdout)
    shutil.rmtree(root)


def build(folder: Path) -> None:
    """The image, from this tree as git has it, with the CPU build of torch that pip finds for this machine."""
    source = folder / "source"
    source.mkdir()
    files = run("git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in files:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    (source / "wheels").mkdir()
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(source / "wheels"), TORCH)
    arguments = {"BASE": "appliance-base:test", "TORCH": TORCH, "CUDA": "cpu"}
    options = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
    docker = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    environment = os.environ | {"DOCKER_BUILDKIT": "1"}
    run(docker, "build", "--network=host", *options, "--tag", IMAGE, str(source), env=environment)
    shutil.copytree(ROOT / "provisioning", source / "provisioning", dirs_exist_ok=True)


def image_holds() -> None:
    """What is in the image, and what is not."""
    about = json.loads(run("docker", "image", "inspect", IMAGE))[0]
    check(about["Config"]["User"] == "10001:10001", "the image's user is 10001, not root")
    check("healthz" in json.dumps(about["Config"]["Healthcheck"]), "the image has a health check on /healthz")
    names = [pair.split("=")[0] for pair in about["Config"]["Env"]]
    secrets = [name for name in names if re.search(r"TOKEN|SECRET|PASSWORD|KEY", name)]
    check(not secrets, f"no secret in the image's environment {secrets or ''}")
    look = "for x in gcc g++ cc c++ clang make pip pip3 git curl; do command -v $x; done; "
    look += "find / -xdev -type d '(' -path '*/.cache/*' -o -path '/var/cache/apt/archives/*.deb' ')' 2>/dev/null; true"
    found = run("docker", "run", "--rm", "--entrypoint", "/bin/sh", IMAGE, "-c", look)
    check(not found.strip(), f"no compiler, no pip, no pip cache {found.split()}")
    manifest = json.loads(run("docker", "run", "--rm", "--entrypoint", "/bin/cat", IMAGE, "/etc/appliance/image.json"))
    check(
        manifest["cuda"] == "cpu" and manifest["torch"].startswith("2."),
        f"the manifest names its torch: {manifest['torch']}",
    )
    layers = run("docker", "history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", IMAGE).splitlines()
    print(f"  size  {int(about['Size']) / 1e9:.2f} GB; layers above 1 MB:")
    for line in layers:
        size, made = line.split("\t", 1)
        if size.endswith(("MB", "GB")):
            print(f"        {size:>8}  {re.sub(r'  *', ' ', made)[:90]}")


def offline_demo() -> None:
    """The main job with no network at all: no interface but loopback, so no route to anywhere."""
    hard = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:mode=1777")
    said = run("docker", "run", "--rm", "--network", "none", *hard, IMAGE, "demo")
    check("Verdict: better" in said, f"`demo` runs without a network: {said.splitlines()[1][:80]}")


def compose_files(folder: Path) -> None:
    """Every combination of docs/containers.md is one project to Compose v2; `!override` means nothing to 1.29."""
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        print("  (only docker-compose 1.29 here: it reads compose.cpu.yaml alone)")
        return
    for base in ("compose.yaml", "compose.cpu.yaml", "compose.yaml:compose.cdi.yaml"):
        for more in ("", ":compose.tls.yaml", ":compose.postgres.yaml", ":compose.tls.yaml:compose.postgres.yaml"):
            files = [part for name in (base + more).split(":") for part in ("-f", name)]
            said = json.loads(run("docker", "compose", *files, "config", "--format", "json", cwd=folder / "source"))
            check({"preflight", "worker", "serve"} <= set(said["services"]), f"Compose reads {base + more}")
            devices = said["services"]["worker"].get("deploy", {}).get("resources", {}).get("reservations", {})
            drivers = [device["driver"] for device in devices.get("devices", [])]
            wanted = {"compose.yaml": ["nvidia"], "compose.cpu.yaml": []}.get(base, ["cdi"])
            check(drivers == wanted, f"and gives the worker {', '.join(wanted) or 'no GPU'}")


class Containers:
    """The running project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "source"
        v2 = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode == 0
        program = ["docker", "compose"] if v2 else ["docker-compose"]
        print(f"  {run(*program, 'version').splitlines()[0]}", flush=True)
        self.command = [*program, "-f", str(self.folder / "compose.cpu.yaml"), "-p", PROJECT]
        self.environment = os.environ | {
            "APPLIANCE_IMAGE": IMAGE,
            "APPLIANCE_PORT": str(PORT),
            "APPLIANCE_OFFLINE": "1",
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{PORT}", timeout=30)

    def compose(self, *arguments: str) -> str:
        return run(*self.command, *arguments, cwd=self.folder, env=self.environment)

    def container(self, service: str) -> dict[str, Any]:
        id_ = self.compose("ps", "-a", "-q", service).split()[0]
        return json.loads(run("docker", "inspect", id_))[0]

    def is_healthy(self) -> bool:
        return self.container("serve")["State"].get("Health", {}).get("Status") == "healthy"

    def run_state(self, number: int) -> dict[str, Any]:
        answer = self.client.get(f"/api/runs/{number}")
        return answer.json() if answer.status_code == 200 else {"state": "unknown", "step": -1}

    def wait_for(self, number: int, state: str, seconds: float) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            now = self.run_state(number)
            if now["state"] == "failed" and state != "failed":
                raise Failed(f"run {number} failed: {now['message']} ({now['fix']})")
            return now if now["state"] == state else None

        return within(seconds, reached, f"run {number} is {state}")

    def wait_for_step(self, number: int, least: int, seconds: float = 240) -> int:
        return within(
            seconds, lambda: max(0, self.run_state(number)["step"] - least + 1) and self.run_state(number)["step"],
            f"run {number} is at step {least}",
        )  # fmt: skip


def comes_up(all_of: Containers) -> None:
    """compose up ends with a page that answers, and the first admin's token in the log."""
    all_of.compose("up", "-d")
    within(180, all_of.is_healthy, "the page's container is healthy")
    check(all_of.container("preflight")["State"]["ExitCode"] == 0, "preflight ran first, and let the rest start")
    log = all_of.compose("logs", "--no-color", "serve")
    found = re.search(r"/join\?token=([\w-]+)", log)
    check(found is not None, "the first admin's one-time link is in the log")
    assert found is not None
    form = {"token": found.group(1), "name": "boss", "password": PASSWORD, "again": PASSWORD}
    check(all_of.client.post("/join", data=form).status_code == 303, "the link makes the first admin")
    with httpx.Client(base_url=all_of.client.base_url) as stranger:
        check(stranger.post("/join", data=form).status_code != 303, "and works once")
        check(stranger.get("/api/runs").status_code == 401, "nobody sees anything without signing in")


def is_hardened(all_of: Containers) -> None:
    for service in ("serve", "worker"):
        about = all_of.container(service)
        status = run("docker", "exec", about["Id"], "cat", "/proc/1/status")
        check(re.search(r"Uid:\s+10001\s", status) is not None, f"{service}: not root")
        check(re.search(r"CapEff:\s+0+\n", status) is not None, f"{service}: no capability")
        check(re.search(r"CapBnd:\s+0+\n", status) is not None, f"{service}: none to be had")
        check("NoNewPrivs:\t1" in status, f"{service}: no new privileges")
        refused = subprocess.run(
            ["docker", "exec", about["Id"], "touch", "/opt/appliance/x"], check=False, capture_output=True
        )
        check(refused.returncode != 0 and about["HostConfig"]["ReadonlyRootfs"], f"{service}: read-only root")


def long_run(all_of: Containers, config: dict[str, Any], name: str) -> int:
    """Queue a run that takes long enough to be disturbed."""
    config = json.loads(json.dumps(config)) | {"name": name}
    config["batch"] = config["batch"] | {"steps": STEPS}
    config["checkpoint"] = {"every_steps": 5}
    answer = all_of.client.post("/api/runs", json={"name": name, "config": json.dumps(config), "key": name})
    if answer.status_code != 201:
        raise Failed(f"the run {name} is refused: {answer.text}")
    return int(answer.json()["id"])


def demo_by_the_api(all_of: Containers) -> dict[str, Any]:
    """The example from the page, by the API, to its report; returns the config of its PPO run."""
    import yaml

    answer = all_of.client.post("/api/example")
    if answer.status_code != 201:
        raise Failed(f"the example is refused: {answer.text}")
    number = int(answer.json()["id"])
    all_of.wait_for(number, "done", 900)
    report = all_of.client.get(f"/api/runs/{number}/report").json()
    check(report["verdict"]["word"] == "better", f"the demo by the API: {report['verdict']['sentence']}")
    return dict(yaml.safe_load(all_of.client.get(f"/api/runs/{number}").json()["config"]))


def survives(all_of: Containers, config: dict[str, Any]) -> None:
    """The worker restarted, then killed, then everything stopped, in the middle of a run; nothing is lost."""
    number = long_run(all_of, config, "disturbed")
    at = all_of.wait_for_step(number, 6)
    all_of.compose("restart", "-t", "170", "worker")
    check(all_of.wait_for_step(number, at + 3) >= at, "the worker is restarted: the run goes on")
    at = all_of.run_state(number)["step"]
    os.kill(all_of.container("worker")["State"]["Pid"], signal.SIGKILL)
    later = all_of.wait_for_step(number, at + 6)
    check(later > at, f"the worker is killed at step {at}: the run goes on from its checkpoint")
    began = time.monotonic()
    all_of.compose("stop")
    took = time.monotonic() - began
    codes = {service: all_of.container(service)["State"]["ExitCode"] for service in ("serve", "worker")}
    check(took < 180 and set(codes.values()) == {0}, f"everything stops by itself in {took:.0f} s, exit codes {codes}")
    all_of.compose("start")
    within(180, all_of.is_healthy, "the page answers again")
    check(all_of.client.get("/api/runs").status_code == 200, "still signed in after the restart")
    all_of.wait_for(number, "done", 900)
    points = all_of.client.get(f"/api/runs/{number}/points", params={"name": "score_mean", "most": 1000}).json()
    steps = [step for step, _ in points["score_mean"]]
    check(steps == list(range(1, STEPS + 1)), f"run {number} is done, with every step once")


def main() -> int:
    began = time.monotonic()
    try:
        with engine() as folder:
            with step("base image by debootstrap"):
                base_image(folder)
            with step("docker build"):
                build(folder)
            with step("the image"):
                image_holds()
            with step("the compose files"):
                compose_files(folder)
            with step("the demo without a network"):
                offline_demo()
            all_of = Containers(folder)
            try:
                with step("compose up"):
                    comes_up(all_of)
                    is_hardened(all_of)
                with step("the demo by the API"):
                    config = demo_by_the_api(all_of)
                with step("restart, kill, stop, start"):
                    survives(all_of, config)
            except Failed:
                print(all_of.compose("logs", "--no-color", "--tail", "40"))
                raise
            finally:
                all_of.compose("down", "--volumes", "--timeout", "10")
    except Failed as failed:
        print(f"FAILED: {failed}", flush=True)
        return 1
    print(f"container test: passed in {(time.monotonic() - began) / 60:.1f} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
