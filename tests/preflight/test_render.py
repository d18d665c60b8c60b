"""The three forms of the report."""

import json
from dataclasses import replace

import pytest

from appliance.preflight import render, run
from appliance.preflight.need import Need
from appliance.preflight.run import Observation, Outcome, Report
from appliance.preflight.verdict import fail, passed, skip, warn

VERDICTS = {
    "host.cpu": warn("8 CPUs", "16 or more", why="The GPU waits. " * 9, fix="# resize"),
    "drv.min": fail("driver 515.86.01", "525.60.13 or newer", why="Too old.", fix="one\ntwo", reboot=True),
    "gpu.ecc_mode": skip("needs drv.min"),
    "docker.engine": passed("Docker Engine 28 \u00fc\x1b[2J"),
}


def report(**left):
    checks = run.all_checks()
    seen = Observation({"a": 1}, None, 3)
    outcomes = tuple(Outcome(checks[id], verdict, seen) for id, verdict in (left or VERDICTS).items())
    return Report("host", "quick", Need(), outcomes, ("host.os",), 0.25)


def test_the_head_names_what_the_image_needs():
    seen = report()
    assert render.table(seen)[1] == "image: torch 2.14.0+cu126, CUDA 12.6, driver 525.60.13 or newer"
    cpu = replace(seen, need=Need(torch="2.13.0+cpu", cuda="cpu", min_driver="", archs=(), gpus=0))
    assert render.table(cpu)[1] == "image: torch 2.13.0+cpu, for machines without a GPU"


def test_the_table_by_heart():
    lines = render.table(report())
    assert "  FAIL  drv.min                Driver for the image's CUDA: driver 515.86.01" in lines
    assert "        why:  Too old." in lines
    assert lines[lines.index("        fix:  one") + 1] == "              two"
    assert "        reboot needed: yes" in lines
    assert "  skip  gpu.ecc_mode           skip (needs drv.min)" in lines
    assert [line for line in lines if line in ("VM", "PCI and driver", "GPU health", "Container engine")] == [
        "VM",
        "PCI and driver",
        "GPU health",
        "Container engine",
    ]
    assert lines[-5:] == [
        "Left out by --skip: host.os",
        "NOT READY: 1 ok, 1 warning, 1 failure, 1 skipped, 0.2 s",
        "First thing to do, for drv.min:",
        "  one",
        "  two",
    ]


def test_the_table_is_ascii_and_80_columns():
    text = "\n".join(render.table(report()))
    assert max(map(len, text.splitlines())) <= 80
    assert text.isascii()
    assert "\x1b" not in text, "neither colours nor what a machine answered may steer the terminal"
    assert "\x1b[31m" in "\n".join(render.table(report(), color=True))


TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def faults(value, schema, where="$"):
    """Where a value departs from the part of JSON Schema that schema.json uses."""
    unknown = set(schema) - {
        "$schema",
        "title",
        "description",
        "type",
        "required",
        "properties",
        "additionalProperties",
    }
    assert not unknown - {"items", "enum", "const"}, f"{where}: this test does not know {unknown}"
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, TYPES[kind]) for kind in kinds) or (
        isinstance(value, bool) and "boolean" not in kinds
    ):
        return [f"{where}: {value!r} is no {kinds}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where}: {value!r}")
    if "const" in schema and value != schema["const"]:
        found.append(f"{where}: {value!r}")
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{where}: lacks {key}" for key in schema["required"] if key not in value]
        found += [f"{where}: {key} is not allowed" for key in value if key not in schema["properties"]]
        for key, inner in value.items():
            found += faults(inner, schema["properties"].get(key, {}), f"{where}.{key}")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            found += faults(inner, schema.get("items", {}), f"{where}[{number}]")
    return found


def test_json_is_as_the_shipped_schema_says():
    document = json.loads(json.dumps(render.as_json(report())))
    assert faults(document, render.schema()) == []
    assert document["summary"] == {"pass": 1, "warn": 1, "fail": 1, "skip": 1, "error": 0}
    assert document["first"] == "drv.min"
    assert document["checks"][1]["fix"] == ["one", "two"]


def test_a_departure_from_the_schema_is_found():
    document = render.as_json(report())
    document["checks"][0]["status"] = "ok"
    document["checks"][1]["reboot"] = 1
    document["more"] = 1
    del document["stage"]
    assert len(faults(document, render.schema())) == 4


@pytest.mark.parametrize(
    ("ids", "word", "code"),
    [
        (["docker.engine"], "OK", 0),
        (["docker.engine", "host.cpu"], "WARNING", 1),
        (["host.cpu", "drv.min"], "CRITICAL", 2),
        (["gpu.ecc_mode"], "UNKNOWN", 3),
    ],
)
def test_one_line_for_a_monitor(ids, word, code):
    line, status = render.nagios(report(**{id: VERDICTS[id] for id in ids}))
    assert status == code
    assert line.startswith(f"PREFLIGHT {word} - ")
    assert "\n" not in line


def test_no_id_is_wider_than_its_column():
    assert max(map(len, run.all_checks())) <= render.ID_WIDTH
