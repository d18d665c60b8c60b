"""What the child processes of the CUDA checks do, on the CPU device and with the fake NVIDIA libraries."""

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.preflight.checks import _workloads as workloads
from appliance.preflight.checks import gpu_link, gpu_speed, torch_work
from appliance.preflight.checks._cards import runs_on

torch = pytest.importorskip("torch")


def test_the_cpu_s_products_are_right():
    # the largest of 64 x 64 entries, each a sum of 64 products rounded to 24 bits: about 8 * 64 * 6e-8 = 3e-5
    seen = workloads.matmul("cpu", 64, 64)
    assert 0 < seen["fp32"] < 1e-4
    assert 1e-4 < seen["bf16"] < 0.01  # half a unit in the last of 8 bits is 0.4 %, on average 0.2 %


def test_wrong_products_are_measured(monkeypatch):
    monkeypatch.setattr(
        torch.Tensor, "__matmul__", lambda a, b: torch.mm(a, b) + (0.1 if a.dtype == torch.float32 else 1)
    )
    seen = workloads.matmul("cpu", 64, 64)
    assert seen["fp32"] == pytest.approx(0.9, abs=1e-3)  # 0.1 on the fp32 product, 1 on the fp64 reference
    assert seen["bf16"] > 0.05


def test_products_that_are_no_numbers_have_no_error(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: torch.mm(a, b) * float("nan"))
    assert workloads.matmul("cpu", 8, 8) == {"fp32": None, "bf16": None, "size": 8}


@pytest.mark.parametrize(
    ("function", "size", "speeds"),
    [("membw", 1, {"gb_s"}), ("bf16", 64, {"tflops"}), ("h2d", 1, {"to_gb_s", "from_gb_s"})],
)
def test_speeds_are_measured(function, size, speeds):
    seen = getattr(workloads, function)("cpu", size)
    assert all(seen[name] > 0 for name in speeds)
    assert set(seen) - speeds <= {"uuid", "link"}


def test_seconds_are_of_the_best_of_five_averages(monkeypatch):
    clock = iter(
        [0.0, 9.0, 10.0, 14.0, 20.0, 26.0, 30.0, 32.0, 40.0, 45.0]
    )  # averages over two calls: 4.5, 2, 3, 1, 2.5
    calls = []
    monkeypatch.setattr(workloads.time, "perf_counter", lambda: next(clock))
    assert workloads._best_s("cpu", lambda: calls.append(1), repeats=2) == 1.0
    assert len(calls) == 1 + 5 * 2


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried.\nMore"), "OutOfMemoryError: CUDA out of memory. Tried."),
        (RuntimeError("CUDA error: an illegal address\nCompile with"), "RuntimeError: CUDA error: an illegal address"),
        (RuntimeError(), "RuntimeError: no message"),
    ],
)
def test_torch_s_errors_come_back_in_one_line(monkeypatch, error, told):
    def raises(*_, **__):
        raise error

    monkeypatch.setattr(torch, "ones", raises)
    assert workloads.membw("cpu", 1) == {"error": told}


def test_an_error_in_the_child_is_a_problem_of_the_fact(make_host, monkeypatch):
    host = make_host(gpu="a100-40")
    monkeypatch.setattr(host, "child", lambda *_, **__: {"value": {"error": "CUDA error"}, "problem": None})
    monkeypatch.setattr(host, "nvml", lambda: {"devices": []})
    assert torch_work.work("membw", timeout_s=1.0)(host) == {
        "value": None,
        "problem": "CUDA error",
        "pci_device_id": None,
    }


def test_work_runs_in_a_child_and_names_the_card(make_host):
    fact = torch_work.work("membw", "cpu", 1, timeout_s=30.0)(
        make_host(gpu="a100-40", environ={"OMP_NUM_THREADS": "1"})
    )
    assert fact["problem"] is None
    assert fact["value"]["gb_s"] > 0
    assert fact["pci_device_id"] == "20f1"


def test_the_card_that_worked_is_found_among_several(make_host, monkeypatch):
    gpus = [{"uuid": "GPU-1", "pci_device_id": "20f1"}, {"uuid": "GPU-2", "pci_device_id": {"error": 3, "name": ""}}]
    host = make_host()
    monkeypatch.setattr(host, "nvml", lambda: {"devices": gpus})
    assert [torch_work._device_id(host, uuid) for uuid in ("GPU-1", "GPU-2", "GPU-3", None)] == [
        "20f1",
        None,
        None,
        None,
    ]


def test_a_compat_library_is_found_where_it_lies(make_host, fake_libraries, tmp_path):
    folder = tmp_path / "cuda-12.6" / "compat"
    folder.mkdir(parents=True)
    (folder / "libcuda.so.560.35.05").write_bytes((fake_libraries / "new" / "libcuda.so.1").read_bytes())
    (folder / "libcuda.so.1").symlink_to("libcuda.so.560.35.05")
    path = f"{folder}:{fake_libraries / 'new'}"
    fact = torch_work.probe_library(make_host(gpu="vgpu", environ={"LD_LIBRARY_PATH": path}))
    assert fact == {"value": {"path": str(folder / "libcuda.so.560.35.05")}, "problem": None, "vgpu": True}


def test_the_link_is_that_of_the_card_that_copied(make_host):
    keys = {"DeviceGetCount": "2", "0.DeviceGetUUID": "GPU-a", "1.DeviceGetUUID": "GPU-b"}
    keys["1.DeviceGetCurrPcieLinkWidth"] = "8"
    answers = [
        make_host(gpu="a100-40", nvml=keys).child("checks._workloads:link", uuid)["value"] for uuid in ("GPU-b", "x")
    ]
    assert answers == [{"index": 1, "uuid": "GPU-b", "performance_state": 0, "pcie": [4, 8, 4, 16]}, None]


def test_the_link_is_read_in_the_child_that_copied(make_host, monkeypatch):
    begun = []
    link = {"index": 0, "uuid": "GPU-1", "performance_state": 0, "pcie": [4, 16, 4, 16]}
    speeds = {"to_gb_s": 25.0, "from_gb_s": 25.0, "uuid": "GPU-1", "link": link}
    host = make_host()

    def child(function, given, timeout_s):
        begun.append(function)
        return {
            "value": speeds if function == "checks._workloads:h2d" else {"init": {}, "devices": []},
            "problem": None,
        }

    monkeypatch.setattr(host, "_child", child)
    next(check for check in gpu_speed.CHECKS if check.id == "perf.h2d").probe(host)
    assert gpu_link.probe_link(host) == {"problem": None, "link": link}
    assert begun.count("checks._workloads:h2d") == 1


def test_no_work_starts_torch_in_this_process():
    # the checks' own modules are loaded for every report, also where there is no torch
    program = "import sys; from appliance.preflight import run; run.all_checks(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_torch_says_what_it_was_built_for(monkeypatch):
    seen = workloads.torch_cuda()
    assert (seen["torch"], seen["cuda"]) == (torch.__version__, torch.version.cuda)
    assert seen["available"] is torch.cuda.is_available()
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    assert workloads.torch_cuda() == {"torch": None}


@pytest.mark.parametrize(("off", "largest"), [(0.0, 0.0), (1.0, 1.0), (float("nan"), None)])
def test_a_compiled_kernel_is_compared_with_the_plain_function(monkeypatch, off, largest):
    monkeypatch.setattr(torch, "compile", lambda function: lambda x: function(x) + off)
    assert workloads.compiled("cpu") == {"largest": pytest.approx(largest, abs=1e-6) if largest else largest}


def test_ways_between_gpus_are_asked_for_both_directions(make_host, fake_libraries, tmp_path):
    # the fake library with one more function, which accepts the index of reading (0) alone
    source = tmp_path / "peers.c"
    fake = Path(__file__).with_name("fake_nvml.c")
    p2p = "int nvmlDeviceGetP2PStatus(long a, long b, u32 index, u32 *out) { *out = a > b; return index ? 2 : 0; }"
    source.write_text(f'#include "{fake}"\n{p2p}\n')
    library = ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(tmp_path / "libnvidia-ml.so.1")]
    subprocess.run(["gcc", "-shared", "-fPIC", *library, str(source)], check=True, capture_output=True)
    environ = {"LD_LIBRARY_PATH": str(tmp_path)}
    fact = gpu_link.probe_peers(make_host(gpu="a100-40", nvml={"DeviceGetCount": "2"}, environ=environ))
    assert fact == {"count": 2, "value": {"0-1": 0, "1-0": 1}, "problem": None}


@pytest.mark.parametrize(
    ("archs", "capability", "fits"),
    [
        (["sm_80"], (8, 0), True),
        (["sm_80"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_80"], (9, 0), False),
        (["compute_80"], (9, 0), True),
        (["compute_90"], (8, 0), False),
        (["sm_90a"], (9, 0), True),
        (["sm_100f", "gfx90a"], (10, 3), False),
        (["sm_120"], [12, 0], True),
        ([], (8, 0), False),
    ],
)
def test_which_kernels_run_on_which_card(archs, capability, fits):
    assert runs_on(archs, capability) is fits
