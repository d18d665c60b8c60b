"""Which driver runs which image on which GPU: one test for each line of the table that an admin asks about."""

import pytest

from appliance.preflight import run

CU118 = {"torch": "2.7.1+cu118", "cuda": "11.8", "min_driver": "450.80.02"}
CU126 = {}  # the default
CU130 = {"torch": "2.14.0+cu130", "cuda": "13.0", "min_driver": "580"}
CU132 = {"torch": "2.14.0+cu132", "cuda": "13.2", "min_driver": "580"}

IDS = (
    *("nvml.init", "drv.min", "drv.cuda", "drv.branch_eol", "drv.lib_match", "drv.flavor", "virt.mode", "vgpu.licence"),
    *("gpu.responds", "gpu.arch"),
)
GRID = {"/usr/bin/nvidia-gridd": ""}

# the newest CUDA that each branch was made for, as NVML tells it
OWN_CUDA = {"470": 11040, "510": 11060, "515": 11070, "525": 12000, "535": 12020, "550": 12040, "570": 12080}
OWN_CUDA |= {"575": 12090, "580": 13000, "590": 13010}


@pytest.fixture
def verdicts(make_host, need):
    """verdicts(driver, image) -> {id: verdict} on an A100 of 40 GB in passthrough, or what the changes make of it."""

    def make(driver, image, *, gpu="a100-40", nvml=None, files=None, links=None, ids=IDS):
        told = {"SystemGetDriverVersion": driver, "SystemGetCudaDriverVersion": str(OWN_CUDA[driver.split(".")[0]])}
        files = {"/sys/module/nvidia/version": f"{driver}\n", **(files or {})}
        host = make_host(gpu=gpu, nvml=told | (nvml or {}), files=files, links=links)
        found = run.examine(run.select("host", "quick", ids), need(**image), run.Live(host, "full"))
        return {outcome.check.id: outcome.verdict for outcome in found}

    return make


def ids_with(found, status):
    return {id for id, verdict in found.items() if verdict.status == status}


def assert_driver_fails(found, driver, floor):
    """One failure: the driver's version, with the way to 580; what stands on it is not judged."""
    assert ids_with(found, "fail") == {"drv.min"}
    assert found["drv.min"].found == f"driver {driver}"
    assert floor in found["drv.min"].expected
    assert "nvidia-headless-no-dkms-580-server" in found["drv.min"].fix
    assert found["drv.min"].reboot
    assert found["drv.cuda"].found == found["drv.branch_eol"].found == "needs drv.min"


def test_525_60_13_grid_with_cuda_12_6_on_a_whole_a100_warns_of_three_things(verdicts):
    found = verdicts("525.60.13", CU126, files=GRID)
    assert found["drv.min"].status == "pass"
    assert ids_with(found, "warn") == {"drv.flavor", "drv.branch_eol", "drv.cuda"}
    assert not ids_with(found, "fail")
    assert "PTX" in found["drv.cuda"].why


def test_525_60_13_grid_with_cuda_12_6_on_a_licensed_vgpu_warns(verdicts):
    found = verdicts("525.60.13", CU126, gpu="vgpu", files=GRID)
    assert not ids_with(found, "fail")
    assert "virt.mode" in ids_with(found, "warn")
    assert found["vgpu.licence"].status == found["drv.flavor"].status == "pass"


def test_525_60_13_grid_with_cuda_12_6_on_an_unlicensed_vgpu_fails(verdicts):
    found = verdicts("525.60.13", CU126, gpu="vgpu", files=GRID, nvml={"DeviceGetGridLicensableFeatures": "1,4,4"})
    assert ids_with(found, "fail") == {"vgpu.licence"}
    assert "ClientConfigToken" in found["vgpu.licence"].fix


@pytest.mark.parametrize("image", [CU130, CU132], ids=["cu130", "cu132"])
def test_525_60_13_does_not_start_cuda_13(verdicts, image):
    assert_driver_fails(verdicts("525.60.13", image), "525.60.13", "580 or newer")


def test_515_86_01_does_not_start_cuda_12_6(verdicts):
    assert_driver_fails(verdicts("515.86.01", CU126, gpu="old-driver"), "515.86.01", "525.60.13 or newer")


def test_515_86_01_would_run_cuda_11_8(verdicts):
    found = verdicts("515.86.01", CU118, gpu="old-driver")
    assert found["drv.min"].status == "pass"
    assert found["drv.cuda"].status == "warn"  # 11.7 < 11.8
    assert not ids_with(found, "fail")


def test_515_86_01_fails_with_a_compatibility_library_too(verdicts):
    """The floor is the kernel driver's: a newer libcuda beside it changes nothing in what is asked."""
    compat = {"/usr/local/cuda-12.6/compat/libcuda.so.1": "libcuda.so.560.35.03"}
    found = verdicts("515.86.01", CU126, gpu="old-driver", links=compat)
    assert_driver_fails(found, "515.86.01", "525.60.13 or newer")
    assert found["drv.lib_match"].status == "pass"


@pytest.mark.parametrize("driver", ["470.256.02", "510.108.03"])
def test_older_branches_do_not_start_cuda_12_6(verdicts, driver):
    assert_driver_fails(verdicts(driver, CU126), driver, "525.60.13 or newer")


@pytest.mark.parametrize(
    ("driver", "own_cuda"), [("535.183.01", "warn"), ("550.127.08", "warn"), ("570.133.20", "pass")]
)
def test_535_to_570_run_cuda_12_6(verdicts, driver, own_cuda):
    # 535 was made for CUDA 12.2 and 550 for 12.4: older minors than 12.6; 570 for 12.8
    found = verdicts(driver, CU126)
    assert found["drv.min"].status == found["drv.branch_eol"].status == found["drv.flavor"].status == "pass"
    assert found["drv.cuda"].status == own_cuda
    assert not ids_with(found, "fail")


@pytest.mark.parametrize("image", [CU130, CU132], ids=["cu130", "cu132"])
@pytest.mark.parametrize("driver", ["535.183.01", "550.127.08", "575.64.03"])
def test_535_to_575_do_not_start_cuda_13(verdicts, driver, image):
    assert_driver_fails(verdicts(driver, image, ids=("drv.min", "drv.cuda", "drv.branch_eol")), driver, "580 or newer")


@pytest.mark.parametrize("driver", ["580.65.06", "590.44.01"])
def test_580_and_later_run_cuda_12_6(verdicts, driver):
    found = verdicts(driver, CU126)
    assert ids_with(found, "pass") == set(IDS)


def test_580_runs_cuda_13_0(verdicts):
    assert ids_with(verdicts("580.95.05", CU130), "pass") == set(IDS)


def test_580_runs_cuda_13_2_in_compatibility_mode(verdicts):
    found = verdicts("580.95.05", CU132)
    assert found["drv.min"].status == "pass"
    assert ids_with(found, "warn") == {"drv.cuda"}
    assert not ids_with(found, "fail")


def test_a_v100_lacks_bf16(verdicts):
    found = verdicts("580.95.05", CU126, nvml={"DeviceGetCudaComputeCapability": "7,0"})
    assert ids_with(found, "fail") == {"gpu.arch"}
    assert "bf16" in found["gpu.arch"].why


def test_an_h200_runs_untested(verdicts):
    found = verdicts("580.95.05", CU126, gpu="h200")
    assert ids_with(found, "warn") == {"gpu.arch"}
    assert not ids_with(found, "fail")


@pytest.mark.parametrize("capability", ["10,0", "12,0"])
def test_a_blackwell_gpu_finds_no_code_in_the_image(verdicts, capability):
    found = verdicts("580.95.05", CU126, nvml={"DeviceGetCudaComputeCapability": capability})
    assert ids_with(found, "fail") == {"gpu.arch"}


def test_a_module_and_a_library_of_two_versions_need_a_reboot(verdicts):
    links = {"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1": "libnvidia-ml.so.580.95.05"}
    found = verdicts("535.183.01", CU126, nvml={"Init": "!18"}, links=links)
    assert ids_with(found, "fail") == {"nvml.init"}
    assert found["nvml.init"].found == "module 535.183.01, library 580.95.05"
    assert found["nvml.init"].fix == "sudo reboot"
    assert found["nvml.init"].reboot


@pytest.mark.parametrize("driver", ["525.53", "525.60.11"])
def test_a_525_before_60_13_is_too_old(verdicts, driver):
    assert_driver_fails(verdicts(driver, CU126), driver, "525.60.13 or newer")


@pytest.mark.parametrize(("kernel", "blamed"), [("5.15.0-119-generic", False), ("6.8.0-45-generic", True)])
def test_525_60_13_is_not_built_for_kernels_from_6_2_on(make_host, need, kernel, blamed):
    files = {
        "/proc/sys/kernel/osrelease": f"{kernel}\n",
        f"/lib/modules/{kernel}/modules.dep": "kernel/fs/ext4/ext4.ko.zst:\n",
        "/var/lib/dkms/nvidia/525.60.13/source": "",
    }
    check = run.all_checks()["mod.nvidia_loaded"]
    verdict = check.judge(check.probe(make_host(files=files)), need())
    assert verdict.status == "fail"
    assert kernel in verdict.why
    assert ("does not compile" in verdict.why) == blamed
    assert "580-server" in verdict.fix
