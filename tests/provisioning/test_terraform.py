"""terraform/: parsed with python-hcl2, and held against what the provider's documentation names.

The provider cannot be had without a network, so `terraform validate` cannot run. ALLOWED is from the documentation of
nutanix_virtual_machine_v2, website/docs/r/virtual_machine_v2.html.markdown at commit
4bddca9252fa10cdc3e695c09cd96b79acf57001 of nutanix/terraform-provider-nutanix, and the schema in
nutanix/services/vmmv2/resource_nutanix_virtual_machine_v2.go at 0232aa8eade082e763f2b0f0279e894f829ed45f: the part of it that
is used here, so that a misspelt block is found, and a new one needs a look at the documentation.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

REFERENCE = {"ext_id": str}
VM_DISK = {
    "disk_size_bytes": int,
    "storage_container": REFERENCE,
    "data_source": {"reference": {"image_reference": {"image_ext_id": str}}},
}
ALLOWED: dict[str, Any] = {
    "name": str,
    "description": str,
    "num_sockets": int,
    "num_cores_per_socket": int,
    "memory_size_bytes": int,
    "machine_type": {"PC", "PSERIES", "Q35"},
    "power_state": {"ON", "OFF"},
    "is_memory_overcommit_enabled": bool,
    "cluster": REFERENCE,
    "boot_config": {"uefi_boot": {"is_secure_boot_enabled": bool}, "legacy_boot": {"boot_order": list}},
    "disks": {
        "disk_address": {"bus_type": {"SCSI", "SPAPR", "PCI", "IDE", "SATA"}, "index": int},
        "backing_info": {"vm_disk": VM_DISK},
    },
    "nics": {
        "nic_network_info": {
            "virtual_ethernet_nic_network_info": {
                "nic_type": {"SPAN_DESTINATION_NIC", "NORMAL_NIC", "DIRECT_NIC", "NETWORK_FUNCTION_NIC"},
                "vlan_mode": {"ACCESS", "TRUNK"},
                "subnet": REFERENCE,
            }
        }
    },
    "gpus": {
        "mode": {"PASSTHROUGH_GRAPHICS", "PASSTHROUGH_COMPUTE", "VIRTUAL"},
        "vendor": {"NVIDIA", "AMD", "INTEL"},
        "device_id": int,
    },
    "guest_customization": {"config": {"cloud_init": {"cloud_init_script": {"user_data": {"value": str}}}}},
}
NEEDED = {"name", "num_sockets", "memory_size_bytes", "cluster", "disks", "nics", "gpus", "guest_customization"}
OF_TERRAFORM = {"lifecycle", "__is_block__"}


def faults(block: dict[str, Any], allowed: dict[str, Any], where: str = "") -> list[str]:
    """Attributes that the documentation does not name, and enums with a value that it does not."""
    found = []
    for name, value in block.items():
        place = f"{where}{name}"
        if name in OF_TERRAFORM:
            continue
        if name not in allowed:
            found.append(f"{place}: not in the documentation")
        elif isinstance(allowed[name], dict):
            found += [fault for part in value for fault in faults(part, allowed[name], f"{place}.")]
        elif isinstance(allowed[name], set) and value not in allowed[name]:
            found.append(f"{place}: {value} is none of {sorted(allowed[name])}")
        elif allowed[name] in (int, bool) and not isinstance(value, allowed[name]) and not str(value).startswith("${"):
            found.append(f"{place}: {value!r} is no {allowed[name].__name__}")
    return found


@pytest.fixture(scope="module")
def parse(tool):
    """parse(file) -> its blocks; a file that is no HCL is None."""

    def run(file: Path) -> dict[str, Any] | None:
        done = tool("hcl2tojson", "--strip-string-quotes", file)
        return json.loads(done.stdout) if done.returncode == 0 else None

    return run


def named(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name.strip('"'): body for block in blocks for name, body in block.items()}


def machine(parsed: dict[str, Any]) -> dict[str, Any]:
    kinds = named(parsed["resource"])
    assert list(kinds) == ["nutanix_virtual_machine_v2"]
    (vm,) = named([kinds["nutanix_virtual_machine_v2"]]).values()
    return vm


def test_every_file_parses(parse, provisioning: Path):
    for file in (provisioning / "terraform").glob("*.tf"):
        assert parse(file) is not None, file


def test_a_file_that_is_no_hcl_is_refused(parse, provisioning: Path, tmp_path: Path):
    text = (provisioning / "terraform/main.tf").read_text()
    (tmp_path / "main.tf").write_text(text.replace("gpus {", "gpus {{"))
    assert parse(tmp_path / "main.tf") is None


def test_the_vm_has_only_what_the_provider_documents(parse, provisioning: Path):
    vm = machine(parse(provisioning / "terraform/main.tf"))
    assert faults(vm, ALLOWED) == []
    assert set(vm) >= NEEDED


@pytest.mark.parametrize(
    ("good", "bad", "fault"),
    [
        ("PASSTHROUGH_COMPUTE", "PASSTHROUGH", "gpus.mode: PASSTHROUGH is none of"),
        ("device_id = var.gpu_device_id", 'device_id = "20f1"', "gpus.device_id: '20f1' is no int"),
        ("nic_network_info {", "network_info {", "nics.network_info: not in the documentation"),
        ('"Q35"', '"q35"', "machine_type: q35 is none of"),
        ("image_ext_id", "image_id", "image_reference.image_id: not in the documentation"),
    ],
)
def test_a_vm_that_the_provider_would_refuse_is_found(
    parse, provisioning: Path, tmp_path: Path, good: str, bad: str, fault: str
):
    text = (provisioning / "terraform/main.tf").read_text()
    (tmp_path / "main.tf").write_text(re.sub(re.escape(good).replace(r"\ ", r"\s+"), bad, text, count=1))
    assert fault in " ".join(faults(machine(parse(tmp_path / "main.tf")), ALLOWED))


def test_the_vm_is_the_one_the_appliance_is_made_for(parse, provisioning: Path):
    vm = machine(parse(provisioning / "terraform/main.tf"))
    variables = named(parse(provisioning / "terraform/variables.tf")["variable"])
    assert variables["sockets"]["default"] * variables["cores_per_socket"]["default"] == 16
    assert variables["memory_gib"]["default"] == 64
    assert variables["gpu_device_id"]["default"] == 0x20F1  # A100 PCIe 40 GB
    assert (vm["machine_type"], vm["gpus"][0]["mode"], len(vm["disks"])) == ("Q35", "PASSTHROUGH_COMPUTE", 2)
    assert "uefi_boot" in vm["boot_config"][0]


def test_variables_say_what_they_are_and_refuse_what_cannot_be(parse, provisioning: Path):
    variables = named(parse(provisioning / "terraform/variables.tf")["variable"])
    free = {"docker_apt_key_file", "toolkit_apt_key_file", "secure_boot"}  # a file's absence is an error of its own
    for name, variable in variables.items():
        assert variable["description"], name
        assert ("validation" in variable) is (name not in free), name
    text = "".join(file.read_text() for file in (provisioning / "terraform").glob("*.tf"))
    assert set(re.findall(r"var\.(\w+)", text)) == set(variables)


def test_no_file_holds_credentials(provisioning: Path):
    for file in (provisioning / "terraform").iterdir():
        words = re.findall(r"(?im)^\s*(\w*(?:password|secret|token|username|api_key)\w*)\s*=", file.read_text())
        assert words == [], file


def test_the_provider_is_pinned(parse, provisioning: Path):
    (block,) = parse(provisioning / "terraform/versions.tf")["terraform"]
    (provider,) = block["required_providers"]
    assert provider["nutanix"] == {"source": "nutanix/nutanix", "version": "~> 2.4, >= 2.4.1"}


def test_terraform_fills_in_every_name_of_the_cloud_init_file(provisioning: Path, values: dict[str, str]):
    text = (provisioning / "terraform/main.tf").read_text()
    filled = re.findall(r"^    (\w+)\s+= ", text.partition("templatefile(")[2].partition("})")[0], re.M)
    template = (provisioning / "cloud-init/user-data.yaml").read_text()
    assert set(filled) == set(re.findall(r"\$\{(\w*)\}", template)) == set(values)
    assert "%{" not in template


@pytest.fixture(scope="module")
def plan(tool, provisioning: Path, tmp_path_factory: pytest.TempPathFactory):
    """plan(variables) -> terraform's judgement of them, and the user data: without the provider, so without the VM."""
    if shutil.which("terraform") is None:
        pytest.skip("terraform is not installed")
    folder = tmp_path_factory.mktemp("provisioning")
    shutil.copytree(provisioning, folder, dirs_exist_ok=True)
    place = folder / "terraform"
    text = (place / "main.tf").read_text()
    locals_only = text.partition('resource "nutanix')[0]
    (place / "main.tf").write_text(locals_only + 'output "user_data" {\n  value = local.user_data\n}\n')
    for name in ("versions.tf", "outputs.tf"):
        (place / name).unlink()
    (place / "keys").mkdir()
    for name in ("docker", "nvidia-container-toolkit"):
        (place / f"keys/{name}.asc").write_text("key\n")

    def run(**variables: Any):
        options = [f"-var={name}={json.dumps(v) if not isinstance(v, str) else v}" for name, v in variables.items()]
        arguments = ["-var-file=terraform.tfvars.example", *options, "-input=false", "-no-color", "-lock=false"]
        return tool(
            "terraform",
            "apply",
            "-auto-approve",
            *arguments,
            cwd=place,
            CHECKPOINT_DISABLE="1",
            TF_CLI_CONFIG_FILE="/dev/null",
        )

    run.folder = place
    return run


def test_terraform_takes_the_example_and_renders_valid_user_data(plan, tool, provisioning: Path):
    done = plan()
    assert done.returncode == 0, done.stderr
    shown = tool("terraform", "output", "-raw", "user_data", cwd=plan.folder, TF_CLI_CONFIG_FILE="/dev/null")
    read = yaml.safe_load(shown.stdout)
    assert read["hostname"] == "rlhf-appliance"
    assert read["users"][0]["ssh_authorized_keys"][0].startswith("ssh-ed25519 ")
    assert "$" not in shown.stdout.replace("$RELEASE", "")


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpu_device_id": 0},
        {"gpu_device_id": 8433.5},
        {"cluster_id": "my-cluster"},
        {"memory_gib": 8},
        {"name": "RLHF appliance"},
        {"toolkit_version": "1.17.7-1"},
        {"ssh_public_keys": []},
        {"ssh_public_keys": ["hunter2"]},
        {"docker_apt_url": "mirror"},
        {"kernel_flavour": "lowlatency"},
        {"data_disk_gib": 20},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_terraform_refuses_a_wrong_value(plan, wrong: dict[str, Any]):
    done = plan(**wrong)
    assert done.returncode != 0
    assert "Invalid value for variable" in done.stderr


def test_terraform_takes_a_newer_toolkit(plan):
    assert plan(toolkit_version="1.18.0-1").returncode == 0


def test_files_are_formatted_as_terraform_does(tool, provisioning: Path, tmp_path: Path):
    done = tool("terraform", "fmt", "-check", "-recursive", provisioning / "terraform", TF_CLI_CONFIG_FILE="/dev/null")
    assert done.returncode == 0, done.stdout
    (tmp_path / "main.tf").write_text("a =   {}\nlong_name = 1\n")
    assert tool("terraform", "fmt", "-check", tmp_path, TF_CLI_CONFIG_FILE="/dev/null").returncode != 0
