"""Cases of the GPU's links."""

A100 = "a100-40"
NOT_SUPPORTED = {"error": 3, "name": "Not Supported"}


def under_load(state, *pcie):
    return {"problem": None, "link": {"index": 0, "uuid": "GPU-1", "performance_state": state, "pcie": list(pcie)}}


def unread(**facts):
    return {
        "problem": None,
        "link": {"index": 0, "uuid": "GPU-1", "performance_state": 0, "pcie": [4, 16, 4, 16], **facts},
    }


def ways(*states):
    pairs = ("0-1", "1-0")
    return {"count": 2, "value": dict(zip(pairs, states, strict=True)), "problem": None}


TWO = {"gpus": 2}

CASES = [
    {"id": "gpu.pcie_link", "case": "full", "status": "pass", "fact": under_load(0, 4, 16, 4, 16), "says": "PCIe 4.0 x16"},
    {"id": "gpu.pcie_link", "case": "gen 3", "status": "pass", "fact": under_load(0, 3, 16, 4, 16)},
    {"id": "gpu.pcie_link", "case": "narrow", "status": "warn", "fact": under_load(0, 4, 8, 4, 16), "says": "x8"},
    {"id": "gpu.pcie_link", "case": "gen 1 in P0", "status": "warn", "fact": under_load(0, 1, 16, 4, 16)},
    {"id": "gpu.pcie_link", "case": "at rest", "status": "skip", "fact": under_load(8, 1, 16, 4, 16), "says": "P8"},
    {"id": "gpu.pcie_link", "case": "vGPU", "status": "skip", "fact": unread(pcie=NOT_SUPPORTED), "says": "pcie"},
    {"id": "gpu.pcie_link", "case": "state unknown", "status": "skip", "fact": unread(performance_state=NOT_SUPPORTED)},
    {"id": "gpu.pcie_link", "case": "not copied", "status": "skip", "fact": {"problem": "no answer", "link": None},
     "says": "no answer"},
    {"id": "gpu.p2p", "case": "one GPU", "status": "skip", "gpu": A100},
    {"id": "gpu.p2p", "case": "open", "status": "pass", "fact": ways(0, 0), "need": TWO},
    {"id": "gpu.p2p", "case": "closed", "status": "warn", "fact": ways(0, 1), "need": TWO, "says": "1-0: not by this"},
    {"id": "gpu.p2p", "case": "closed, one needed", "status": "pass", "fact": ways(1, 1)},
    {"id": "gpu.p2p", "case": "one refused", "status": "skip", "fact": ways(0, NOT_SUPPORTED), "need": TWO},
    {"id": "gpu.p2p", "case": "not in this driver", "status": "skip", "gpu": A100, "nvml": {"DeviceGetCount": "2"},
     "need": TWO, "says": "P2P"},
]  # fmt: skip
