"""The compose files against the compose specification (the strict parser of the compose-spec package), and each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

NAMES = ("compose.yaml", "compose.cpu.yaml", "compose.cdi.yaml", "compose.tls.yaml", "compose.postgres.yaml")
ALONE = ("compose.yaml", "compose.cpu.yaml")
JUDGE = "import sys; from compose_spec import PyCompose; PyCompose.from_yaml(open(sys.argv[1]).read())"


class Loader(yaml.SafeLoader):
    """YAML with Compose's `!override`, whose meaning is about merging."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node, deep=True))


def compose(text: str) -> dict[str, Any]:
    """A compose file as Compose sees it: variables at their defaults, anchors followed, x- keys dropped."""
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    assert "${" not in filled, "a variable without a default would stop `docker compose up` on a fresh machine"
    return {key: value for key, value in yaml.load(filled, Loader).items() if not key.startswith("x-")}


@pytest.fixture(scope="module")
def accepted(tool, tmp_path_factory: pytest.TempPathFactory, repository: Path):
    """accepted(text) -> whether the specification allows it."""
    file = tmp_path_factory.mktemp("compose") / "compose.yaml"
    python = repository / ".venv-provisioning/bin/python"
    if not python.exists():
        pytest.skip("compose-spec is not installed (make install-provisioning)")

    def run(text: str) -> bool:
        file.write_text(yaml.safe_dump(compose(text)))
        done = tool(str(python), "-c", JUDGE, file)
        assert "ModuleNotFoundError" not in done.stderr
        return done.returncode == 0

    return run


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_allows_it(accepted, repository: Path, name: str):
    assert accepted((repository / name).read_text())


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("capabilities: [gpu]", "x-capabilities: [gpu]"),
        ("restart: unless-stopped", "restart: sometimes"),
        ("shm_size: 8gb", "shm_size: lots"),
        ("condition: service_completed_successfully", "condition: done"),
        ("stop_grace_period: 180s", "stop_grace_perod: 180s"),
    ],
)
def test_a_broken_file_is_refused(accepted, repository: Path, good: str, bad: str):
    text = (repository / "compose.yaml").read_text()
    assert good in text
    assert not accepted(text.replace(good, bad))


@pytest.mark.parametrize("name", NAMES)
def test_services_depend_on_services_that_exist(repository: Path, name: str):
    services = compose((repository / name).read_text())["services"]
    known = set(services) | (
        set() if name in ALONE else set(compose((repository / "compose.yaml").read_text())["services"])
    )
    wanted = {other for service in services.values() for other in service.get("depends_on", {})}
    assert wanted <= known


@pytest.mark.parametrize("name", ALONE)
def test_every_service_is_shut_in(repository: Path, name: str):
    for service, read in compose((repository / name).read_text())["services"].items():
        assert read["cap_drop"] == ["ALL"], service
        assert read["read_only"] is True, service
        assert read["security_opt"] == ["no-new-privileges:true"], service
        assert read["user"] == "10001:10001", service
        assert not {"privileged", "cap_add", "network_mode", "pid"} & set(read), service


def test_the_proxy_in_front_is_shut_in_but_for_what_its_image_asks(repository: Path):
    tls = compose((repository / "compose.tls.yaml").read_text())["services"]["tls"]
    assert tls["cap_drop"] == ["ALL"]
    assert tls["cap_add"] == ["NET_BIND_SERVICE"]  # a file capability: without it exec is refused
    assert tls["read_only"] is True
    assert tls["user"] == "10001:10001"


def test_the_page_believes_the_proxy_in_front_that_it_came_by_https(repository: Path):
    command = compose((repository / "compose.tls.yaml").read_text())["services"]["serve"]["command"]
    alone = compose((repository / "compose.yaml").read_text())["services"]["serve"]["command"]
    assert command == [*alone, "--proxy", "*"]


def without_a_gpu(service: dict[str, Any]) -> dict[str, Any]:
    """A service of compose.yaml as compose.cpu.yaml has it, but for the image, its build and the limits."""
    return {key: value for key, value in service.items() if key not in ("deploy", "image", "build", "ulimits")}


def test_the_file_without_a_gpu_is_the_other_one_without_its_gpu(repository: Path):
    gpu, cpu = (compose((repository / name).read_text())["services"] for name in ALONE)
    assert {name: without_a_gpu(read) for name, read in gpu.items()} == {
        name: without_a_gpu(read) for name, read in cpu.items()
    }
    assert not any("deploy" in read for read in cpu.values())


@pytest.mark.parametrize("name", ALONE)
def test_only_the_page_is_published_and_only_here(repository: Path, name: str):
    ports = {
        s: read["ports"] for s, read in compose((repository / name).read_text())["services"].items() if "ports" in read
    }
    assert ports == {"serve": ["127.0.0.1:7860:7860"]}


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_is_a_file_and_no_variable(repository: Path, name: str):
    read = compose((repository / name).read_text())
    for secret in read.get("secrets", {}).values():
        assert secret["file"].startswith("./secrets/")
    for service in read["services"].values():
        for variable in service.get("environment", {}):
            assert variable.endswith("_FILE") or not re.search("PASSWORD|TOKEN|SECRET", variable)
