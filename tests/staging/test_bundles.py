"""Bundles: there and back; and every bad one is refused, says why, and leaves nothing."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from appliance.errors import ModelError
from appliance.staging import manifest as manifests
from appliance.staging.bundle import FORMAT, INDEX
from appliance.staging.fetching import stage_bundle
from appliance.staging.folders import find
from appliance.staging.importing import import_bundle
from appliance.staging.names import Asked, parse

COMMIT = "0123456789" * 4


def listed(files: dict[str, bytes], **changes: object) -> dict[str, object]:
    """A manifest as it stands in a bundle."""
    sums = {path: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for path, data in files.items()}
    base = {"format": 1, "kind": "model", "repo": "o/m", "commit": COMMIT, "revisions": ["main"], "licence": None}
    base |= {"staged_at": "2026-11-21T10:00:00Z", "total_bytes": sum(map(len, files.values())), "files": sums}
    return base | changes


FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100}


def entry(name: str, data: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, data


def tarred(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], form: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return path


def index(*manifests: object, version: str = FORMAT) -> tuple[tarfile.TarInfo, bytes]:
    return entry(INDEX, json.dumps({"format": version, "manifests": list(manifests)}).encode())


def good() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [index(listed(FILES)), *(entry(f"0/{path}", data) for path, data in FILES.items())]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def visible(models: Path) -> list[str]:
    """Everything in the models folder but the lock."""
    return sorted(
        file.relative_to(models).as_posix() for file in models.rglob("*") if file.name not in (".staging", "lock")
    )


def refused(bundle: Path, models: Path, **options: str) -> ModelError:
    with pytest.raises(ModelError) as caught:
        import_bundle(bundle, models, **options)
    assert visible(models) == [], "nothing is left"
    assert caught.value.fix
    return caught.value


def test_models_and_their_revisions_there_and_back(repositories, model, tmp_path):
    repositories.add("owner/first", model(1, 2), revision="v1")
    repositories.add("second", model(3))
    bundle, models = tmp_path / "b.tar", tmp_path / "models"
    fetched, sha256 = stage_bundle([parse("owner/first@v1"), parse("second")], "model", bundle, repositories.hub)
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() == sha256
    with tarfile.open(bundle) as tar:  # a plain tar, which other programs read
        assert [one.name for one in tar][:2] == [INDEX, "0/README.md"]
    imported = import_bundle(bundle, models, sha256=sha256.upper())
    assert [one.how for one in imported] == ["imported", "imported"]
    for name, values in {"owner/first": (1, 2), "second": (3,)}.items():
        folder = find(name)
        assert (folder / "model.safetensors").read_bytes() == model(*values)["model.safetensors"]
        assert (folder.stat().st_mode & 0o777, (folder / "config.json").stat().st_mode & 0o777) == (0o755, 0o644)
    assert find("owner/first", "v1") == find("owner/first")
    here = manifests.read(find("second"))
    assert here is not None
    assert here.verified_at is not None
    assert (here.files, here.staged_at) == (fetched[1].manifest.files, fetched[1].manifest.staged_at)


def test_a_data_set_with_folders_and_long_names(repositories, tmp_path):
    rows = {f"{'deep/' * 10}{'x' * 90}.parquet": b"PAR1", "data/train.jsonl": b"{}\n"}
    repositories.add("o/rows", rows, kind="dataset")
    stage_bundle([Asked("o/rows")], "dataset", tmp_path / "b.tar", repositories.hub)
    import_bundle(tmp_path / "b.tar", tmp_path / "models")
    folder = find("o/rows", kind="dataset")
    assert {path: (folder / path).read_bytes() for path in rows} == rows


def test_a_bundle_is_the_same_whenever_it_is_written(repositories, model, tmp_path, monkeypatch):
    at = manifests.now()
    monkeypatch.setattr("appliance.staging.hub.now", lambda: at)
    repositories.add("o/m", model())
    sums = [stage_bundle([Asked("o/m")], "model", tmp_path / name, repositories.hub)[1] for name in ("a.tar", "b.tar")]
    assert sums[0] == sums[1]


def test_a_second_import_changes_nothing(tmp_path, models):
    bundle = tarred(tmp_path / "b.tar", good())
    import_bundle(bundle, models)
    before = {path: (models / path).stat().st_mtime_ns for path in visible(models)}
    (again,) = import_bundle(bundle, models)
    assert again.how == "already here"
    assert {path: (models / path).stat().st_mtime_ns for path in visible(models)} == before


def test_another_import_repairs_what_was_damaged(tmp_path, models):
    bundle = tarred(tmp_path / "b.tar", good())
    (first,) = import_bundle(bundle, models)
    (first.folder / "model.safetensors").write_bytes(b"WEIGHTS" * 100)
    (again,) = import_bundle(bundle, models)
    assert again.how == "repaired"
    assert (first.folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert [entry.name for entry in (models / ".staging").iterdir()] == ["lock"]


def swapped(position: int, data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    entries = good()
    entries[position] = entry(entries[position][0].name, data)
    return entries


WEIGHTS = FILES["model.safetensors"]
LINK = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
BAD: dict[str, tuple[list[tuple[tarfile.TarInfo, bytes]], str]] = {
    "another content of the same size": (swapped(2, WEIGHTS[:-1] + b"!"), "does not have the SHA-256"),
    "another size": (swapped(2, WEIGHTS + b"!"), "701 bytes, not the 700"),
    "a file missing": (good()[:-1], "0/model.safetensors is missing"),
    "a file more": ([*good(), entry("0/more.json", b"{}")], "'0/more.json', which its list does not name"),
    "a file twice": ([*good(), entry("0/config.json", b"{}")], "or names once"),
    "an absolute path in the tar": ([*good(), entry("/etc/cron.d/x", b"x")], "does not name"),
    "a path that leads out in the tar": ([*good(), entry("0/../../x", b"x")], "does not name"),
    "a symbolic link": ([*good()[:2], entry("0/model.safetensors", **LINK)], "is a symbolic link"),
    "a link more": ([good()[0], entry("0/x", **LINK), *good()[1:]], "is a symbolic link"),
    "a hard link": ([*good()[:2], entry("0/model.safetensors", type=tarfile.LNKTYPE, linkname="x")], "is a hard link"),
    "a device": ([*good(), entry("0/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)], "is a device"),
    "a pipe": ([*good(), entry("0/pipe", type=tarfile.FIFOTYPE)], "is a pipe"),
    "a folder": ([*good(), entry("0", type=tarfile.DIRTYPE)], "is a folder"),
    "a long name's header": ([*good(), entry("0/" + "x" * 200, b"x")], "of a kind that does not belong"),
    "no list": (good()[1:], "does not begin with bundle.json"),
    "nothing": ([], "does not begin with bundle.json"),
    "a list that is no JSON": ([entry(INDEX, b"{"), *good()[1:]], "cannot be read"),
    "a list that is no object": ([entry(INDEX, b"[]"), *good()[1:]], "cannot be read"),
    "a list of deep brackets": ([entry(INDEX, b"[" * 100_000), *good()[1:]], "cannot be read"),
    "a newer format": (
        [index(listed(FILES), version="rlhf-appliance-bundle-2"), *good()[1:]],
        "bundle-2', this version",
    ),
    "no repository": ([index()], "lists no repositories"),
    "a repository twice": ([index(listed(FILES), listed(FILES)), *good()[1:]], "lists a repository twice"),
}
for _name, _changes, _says in (
    ("an absolute path", {"files": {"/etc/x.json": b"x"}}, "absolute path"),
    ("a path that leads out", {"files": {"../../x.json": b"x"}}, "leads out of its folder"),
    ("a path that leads out in its middle", {"files": {"a/../../x.json": b"x"}}, "leads out of its folder"),
    ("a hidden file", {"files": {".manifest.json": b"x"}}, "hidden"),
    ("a pickle", {"files": {"pytorch_model.bin": b"x"}}, "a kind that is not staged"),
    ("code", {"files": {"modeling.py": b"x"}}, "a kind that is not staged"),
    ("a backslash", {"files": {"a\\..\\x.json": b"x"}}, "characters"),
    ("a repository that leads out", {"repo": "../x"}, "no name of a repository"),
    ("a repository of the data sets' folder", {"repo": "datasets/x"}, "no name of a repository"),
    ("a repository that is a path", {"repo": "/etc/x"}, "no name of a repository"),
    ("a commit that is a path", {"commit": "../" + COMMIT[3:]}, "is no commit"),
    ("a revision that is a path", {"revisions": ["../x"]}, "is no revision"),
    ("a kind that there is not", {"kind": "space"}, "kind: "),
    ("a negative size", {"sums": {"x.json": {"sha256": "0" * 64, "size": -5}}}, "greater than or equal to 0"),
    ("a wrong total", {"total_bytes": 5}, "not the sum"),
    ("a key more", {"run": "x"}, "run: "),
    ("a newer manifest", {"format": 2}, "format: "),
    (
        "a file that is a folder too",
        {"kind": "dataset", "files": {"a.csv": b"x", "a.csv/b.csv": b"x"}},
        "a file and a folder",
    ),
):
    _files = _changes.pop("files", FILES)
    _sums = _changes.pop("sums", None)
    _one = listed(_files, **_changes) | ({"files": _sums, "total_bytes": -5} if _sums else {})
    BAD[_name] = ([index(_one), *(entry(f"0/{path}", data) for path, data in _files.items())], _says)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_is_refused_and_leaves_nothing(tmp_path, models, name):
    entries, says = BAD[name]
    error = refused(tarred(tmp_path / "b.tar", entries), models)
    assert says in error.what
    assert str(tmp_path / "b.tar") in error.what
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b.tar", "models"]


def test_the_good_bundle_of_these_tests_is_good(tmp_path, models):
    assert import_bundle(tarred(tmp_path / "b.tar", good()), models)[0].how == "imported"


def test_pax_headers_are_refused(tmp_path, models):
    entries = good()
    entries[1][0].pax_headers = {"path": "../../x"}
    error = refused(tarred(tmp_path / "b.tar", entries, tarfile.PAX_FORMAT), models)
    assert "is not as `appliance models stage` writes it" in error.what


def test_wherever_a_bundle_is_cut_it_is_refused(tmp_path, models):
    whole = tarred(tmp_path / "whole.tar", good()).read_bytes()
    # headers of 512; list, config and weights padded to 512: the last byte that counts is that of the first zero block
    listing = -(-good()[0][0].size // 512) * 512
    end = 512 + listing + 512 + 512 + 512 + 1024 + 512
    bundle = tmp_path / "b.tar"
    for length in [*range(0, end, 97), end - 1]:
        bundle.write_bytes(whole[:length])
        assert "cut short" in refused(bundle, models).what
    bundle.write_bytes(whole[:end])
    assert import_bundle(bundle, models)


def test_a_single_changed_bit_anywhere_is_refused(tmp_path, models):
    whole = tarred(tmp_path / "whole.tar", good()).read_bytes()
    bundle, kept = tmp_path / "b.tar", []
    listing = -(-good()[0][0].size // 512) * 512
    for position in [*range(0, 512, 31), *range(512 + listing, 512 + listing + 3 * 512 + 1024, 53)]:
        changed = bytearray(whole)
        changed[position] ^= 1
        bundle.write_bytes(bytes(changed))
        try:
            import_bundle(bundle, models)
            kept.append(position)
        except ModelError:
            assert visible(models) == []
    assert not kept


def test_what_follows_the_end_is_refused(tmp_path, models):
    bundle = tarred(tmp_path / "b.tar", good())
    with bundle.open("ab") as file:
        file.write(b"more")
    assert "follows after its end" in refused(bundle, models).what


def test_a_bundle_of_another_sum_than_was_given_is_refused(tmp_path, models):
    bundle = tarred(tmp_path / "b.tar", good())
    assert "its SHA-256 is" in refused(bundle, models, sha256="0" * 64).what


def test_random_bytes_and_missing_files_are_refused(tmp_path, models):
    (tmp_path / "b.tar").write_bytes(bytes(range(256)) * 40)
    assert "is no header" in refused(tmp_path / "b.tar", models).what
    assert "cannot be read" in refused(tmp_path / "none.tar", models).what


def test_a_repository_of_a_bad_bundle_stays_out_however_good_it_is_itself(tmp_path, models):
    other = listed(FILES, repo="o/other")
    entries = [
        index(listed(FILES), other),
        *good()[1:],
        entry("1/config.json", b"[]"),
        entry("1/model.safetensors", WEIGHTS),
    ]
    refused(tarred(tmp_path / "b.tar", entries), models)


def test_room_is_asked_for_before_anything_is_written(tmp_path, models, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    # 700 + 2 bytes, and 64 MiB = 67.1 MB to spare
    assert "67.1 MB are needed" in refused(tarred(tmp_path / "b.tar", good()), models).what


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, models, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert "is full" in refused(tarred(tmp_path / "b.tar", good()), models).what


def test_a_models_folder_that_may_not_be_written_is_said(tmp_path, models, monkeypatch):
    bundle = tarred(tmp_path / "b.tar", good())

    def read_only(path: Path, *args: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(ModelError, match="Read-only file system") as caught:
        import_bundle(bundle, models)
    assert "APPLIANCE_MODELS" in caught.value.fix


KILLED = """
import os, signal, sys
from pathlib import Path
from appliance.staging import importing
real = os.{call}
left = int(sys.argv[3])
def dying(*args, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
os.{call} = dying
importing.import_bundle(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("call", "after"), [("fsync", 0), ("fsync", 1), ("fsync", 3), ("rename", 0), ("rename", 1)])
def test_a_kill_leaves_nothing_half_and_the_next_import_works(tmp_path, models, call, after):
    other = listed(FILES, repo="o/other")
    entries = [
        index(listed(FILES), other),
        *(entry(f"{n}/{path}", data) for n in (0, 1) for path, data in FILES.items()),
    ]
    bundle = tarred(tmp_path / "b.tar", entries)
    command = [sys.executable, "-c", KILLED.replace("{call}", call), str(bundle), str(models), str(after)]
    ended = subprocess.run(
        command, check=False, capture_output=True, timeout=60, env={**os.environ, "APPLIANCE_PROGRESS": "off"}
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    seen = [name for name in ("o/m", "o/other") if find(name, models=models)]
    # a rename makes a folder visible: of two, the first may be there, and then it is whole
    assert seen == (["o/m"] if (call, after) == ("rename", 1) else [])
    assert not [path for path in visible(models) if not path.startswith((".staging", "o"))]
    for name in seen:
        assert not manifests.damage(find(name, models=models), manifests.read(find(name, models=models)))
    assert {one.how for one in import_bundle(bundle, models)} <= {"imported", "already here"}
    assert find("o/m", models=models)
    assert find("o/other", models=models)
    assert [entry.name for entry in (models / ".staging").iterdir()] == ["lock"]


def test_two_imports_at_once_are_one_and_a_message(tmp_path, models, monkeypatch):
    bundle = tarred(tmp_path / "b.tar", good())
    said: list[str] = []

    def meanwhile(place: Path, needed: int) -> None:
        with pytest.raises(ModelError) as caught:
            import_bundle(bundle, models)
        said.append(caught.value.what)

    monkeypatch.setattr("appliance.staging.importing.require_room", meanwhile)
    import_bundle(bundle, models)
    assert said == [f"another process is staging into {models}"]


def test_memory_stays_small_however_large_the_files(tmp_path, models):
    large = b"\0" * (40 << 20)
    files = {"config.json": b"{}", "model.safetensors": large}
    bundle = tarred(
        tmp_path / "b.tar", [index(listed(files)), *(entry(f"0/{path}", data) for path, data in files.items())]
    )
    tracemalloc.start()
    import_bundle(bundle, models)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20, "blocks of 4 MiB, of which a few are under way"
