"""The shape of the package, read from its source: who may import whom, what stays light, what is never called."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "appliance"

LAYERS = [
    {"errors", "settings", "parts", "progress", "preflight.verdict"},
    {"config", "store", "data", "plan", "staging", "preflight.need"},
    {f"ppo.{name}" for name in ("types", "kl", "advantages", "losses", "logprobs", "memory", "feed")},
    {"models", "engines", "rewards"} | {f"preflight.{name}" for name in ("host", "nvml", "check", "checks")},
    {f"ppo.{name}" for name in ("rollout", "scoring", "update", "checkpoint", "metrics", "alarms", "invariants")}
    | {f"ppo.{name}" for name in ("state", "pieces", "clock", "objective", "held_out", "journal", "probe")},
    {"ppo.loop", "stages", "evaluate", "serving"},
    {"preflight", "worker", "ui", "cli", "__main__"},
]
"""A module imports from its own layer and from those before it."""

HEAVY = {"torch", "transformers", "trl", "peft", "datasets"}
"""Seconds to import: not before a command needs them."""


def modules() -> dict[str, Path]:
    """Every module of the package by its name without `appliance.`; a package goes by its folder."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if parts:
            found[".".join(parts)] = path
    return found


MODULES = modules()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def layer_of(module: str) -> int | None:
    for number, names in enumerate(LAYERS, start=1):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


def imported(node: ast.AST) -> list[str]:
    """Full names that an import statement asks for; `from a import b` asks for a.b."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def own_imports(tree: ast.Module) -> set[str]:
    """The package's modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        for name in imported(node):
            if name.startswith("appliance."):
                inner = name.removeprefix("appliance.")
                while inner and inner not in MODULES:
                    inner = inner.rpartition(".")[0]
                if inner:
                    found.add(inner)
    return found


def violations(module: str, imports: set[str]) -> list[str]:
    mine = layer_of(module)
    assert mine is not None, f"{module} stands in no layer: enter it in LAYERS"
    package = module.partition(".")[0]
    bad = []
    for other in sorted(imports):
        theirs = layer_of(other)
        if theirs is None:  # a package's own folder, which holds no code
            continue
        same = package != "ppo" and other.partition(".")[0] == package
        if theirs > mine and not same:
            bad.append(f"{module} (layer {mine}) imports {other} (layer {theirs})")
    return bad


def test_a_module_imports_from_its_own_layer_or_below():
    found = [
        line
        for module, path in MODULES.items()
        if module != "ppo"  # the folder itself stands in several layers and holds no code
        for line in violations(module, own_imports(tree_of(path)))
    ]
    assert not own_imports(tree_of(MODULES["ppo"]))
    assert not found, "\n".join(found)


def test_an_upward_import_is_found():
    tree = ast.parse("def f():\n    from appliance.models.policy import Policy\n    import appliance.ppo.loop\n")
    assert violations("ppo.losses", own_imports(tree)) == [
        "ppo.losses (layer 3) imports models.policy (layer 4)",
        "ppo.losses (layer 3) imports ppo.loop (layer 6)",
    ]


def test_no_import_is_relative():
    for path in MODULES.values():
        for node in ast.walk(tree_of(path)):
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: line {node.lineno}"


def cycle(graph: dict[str, set[str]]) -> list[str] | None:
    """A cycle of a graph as the names along it, or None."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str] | None:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        for other in sorted(graph.get(name, ())):
            found = visit(other, [*way, name])
            if found:
                return found
        done.add(name)
        return None

    for name in sorted(graph):
        found = visit(name, [])
        if found:
            return found
    return None


def test_no_imports_go_in_a_circle():
    graph = {module: own_imports(tree_of(path)) - {module} for module, path in MODULES.items()}
    assert cycle(graph) is None
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def is_light(module: str) -> bool:
    """Layers 1 and 2, the reward sources, preflight and the command line start without torch."""
    source = module.startswith("rewards.") and not module.startswith("rewards._")
    return layer_of(module) in (1, 2) or source or module.partition(".")[0] in ("preflight", "cli")


def heavy_top_level(tree: ast.Module) -> list[str]:
    """Heavy imports that run when the module is imported; those under TYPE_CHECKING do not."""
    found, pending = [], list(tree.body)
    while pending:
        node = pending.pop()
        found += [name for name in imported(node) if name.partition(".")[0] in HEAVY]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        pending += list(ast.iter_child_nodes(node))
    return found


def test_light_modules_import_nothing_heavy_at_the_top():
    found = {m: heavy_top_level(tree_of(p)) for m, p in MODULES.items() if is_light(m)}
    assert found
    assert not {module: names for module, names in found.items() if names}


def test_a_heavy_import_is_found_wherever_it_runs_at_import():
    source = (
        "try:\n    import torch\nexcept ImportError:\n    pass\ndef f():\n    import trl\nclass A:\n    import peft\n"
    )
    assert sorted(heavy_top_level(ast.parse(source))) == ["peft", "torch"]
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from torch import Tensor\n"
    assert not heavy_top_level(ast.parse(typed))


def light_reach() -> list[str]:
    """Light modules from which a heavy top-level import is reached through the modules that they import at the top."""

    def top(module: str) -> set[str]:
        tree = tree_of(MODULES[module])
        return own_imports(ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], []))

    found = []
    for start in (m for m in MODULES if is_light(m)):
        seen, pending = set(), [start]
        while pending:
            module = pending.pop()
            if module in seen:
                continue
            seen.add(module)
            if heavy_top_level(tree_of(MODULES[module])):
                found.append(f"{start} reaches {module}")
            pending += top(module)
    return found


def test_light_modules_reach_nothing_heavy_through_what_they_import():
    assert not light_reach()


def forbidden_calls(tree: ast.Module) -> list[str]:
    """Ways to run code that came with a model: remote code, pickle, torch.load."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.append("trust_remote_code")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            found.append(ast.unparse(node))
        found += [name for name in imported(node) if name.split(".")[0] in ("pickle", "dill", "cloudpickle", "joblib")]
        found += [name for name in imported(node) if name in ("torch.load", "torch.save")]
    return found


def test_nothing_runs_code_that_came_with_a_model():
    assert not {m: calls for m, path in MODULES.items() if (calls := forbidden_calls(tree_of(path)))}


@pytest.mark.parametrize(
    "source",
    ["f(trust_remote_code=True)", "f(trust_remote_code=x)", "torch.load(p)", "import pickle", "from torch import load"],
)
def test_code_from_a_model_is_found(source):
    assert len(forbidden_calls(ast.parse(source))) == 1
    assert not forbidden_calls(ast.parse("f(trust_remote_code=False)"))


def tracked_files() -> list[Path]:
    """What the repository holds: tracked files, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:  # not a checkout: everything that is not hidden
        return [p for p in ROOT.rglob("*") if p.is_file() and not any(part[0] == "." for part in p.parts[1:])]
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


WRITTEN = {".py", ".md", ".yaml", ".yml", ".toml", ".sh", ".jinja", ".html", ".css", ".js"}
"""Files that people write; records of measurements may be longer."""


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_files_stay_short():
    long = {str(p.relative_to(ROOT)): length(p) for p in tracked_files() if p.suffix in WRITTEN and length(p) > 450}
    assert not long
    assert not {module: length(path) for module, path in MODULES.items() if length(path) > 300}
