"""Backups that must not be put back: damaged, cut off, changed, or made to write where they may not. Nothing is replaced."""

import io
import json
import tarfile

import pytest

from appliance import settings
from appliance.errors import ApplianceError
from appliance.store import audit, backup, restore
from appliance.store.db import Store


@pytest.fixture
def chosen(tmp_path):
    """Settings of a data folder with a run and a store."""
    made = settings.read({"APPLIANCE_DATA": str(tmp_path / "data")})
    (made.data / "one").mkdir(parents=True)
    (made.data / "one" / "metrics.jsonl").write_text('{"step": 1}\n')
    store = Store(made.database, made.data)
    store.migrate()
    audit.record(store, None, "start", "one")
    store.close()
    return made


def tree(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def remade(source, target, change):
    """The backup with `change(name, info, content)` made to each member: None drops it."""
    with tarfile.open(source) as tar, tarfile.open(target, "w") as out:
        for member in tar:
            kept = change(member.name, member, tar.extractfile(member).read())
            for info, content in kept or []:
                info.size = len(content)
                out.addfile(info, io.BytesIO(content))


def summed(extra):
    """Adds members that the manifest knows too: the checksums alone must not decide."""

    def change(name, info, content):
        if name != "manifest.json":
            return [(info, content)]
        manifest = json.loads(content)
        made = []
        for path, kind in extra:
            more = tarfile.TarInfo(path)
            more.type = kind
            more.linkname = "/etc/passwd"
            manifest["files"][path] = {
                "size": 0,
                "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            }
            made.append((more, b""))
        return [*made, (info, json.dumps(manifest).encode())]

    return change


def header(**values):
    def change(name, info, content):
        if name == "backup.json":
            content = json.dumps(json.loads(content) | values).encode()
        return [(info, content)]

    return change


def row(table, line):
    def change(name, info, content):
        return [(info, content + line if name == f"database/{table}.jsonl" else content)]

    return change


REFUSED = {
    "no end": (lambda n, i, c: None if n == "manifest.json" else [(i, c)], "its end is missing"),
    "a changed file": (lambda n, i, c: [(i, c.replace(b"step", b"stop") if "metrics" in n else c)], "checksum or size"),
    "a missing file": (lambda n, i, c: None if "metrics" in n else [(i, c)], "missing or was added"),
    "an added file": (
        lambda n, i, c: [(i, c), (tarfile.TarInfo("data/one/new"), b"x")] if "metrics" in n else [(i, c)],
        "missing or was added",
    ),
    "a changed row": (row("users", b'{"id": 9}\n'), "checksum or size"),
    "a path upwards": (summed([("data/../../evil", tarfile.REGTYPE)]), "no backup of the appliance has"),
    "an absolute path": (summed([("/tmp/evil", tarfile.REGTYPE)]), "no backup of the appliance has"),
    "a secret": (summed([("data/secret.key", tarfile.REGTYPE)]), "no backup of the appliance has"),
    "a database": (summed([("data/appliance.db", tarfile.REGTYPE)]), "no backup of the appliance has"),
    "a symbolic link": (summed([("data/one/link", tarfile.SYMTYPE)]), "as a link"),
    "a hard link": (summed([("data/one/link", tarfile.LNKTYPE)]), "as a link"),
    "a pipe": (summed([("data/one/pipe", tarfile.FIFOTYPE)]), "as a link"),
    "a newer schema": (header(schema="0999"), "schema version 0999; this appliance knows versions up to"),
    "a newer format": (header(format=7, appliance="9.0"), "format 7, from appliance 9.0"),
    "another tar": (
        lambda n, i, c: [(tarfile.TarInfo("data/x"), c)] if n == "backup.json" else [(i, c)],
        "is no backup",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_changes_nothing(kind, tmp_path, chosen):
    backup.make(chosen, tmp_path / "b.tar")
    change, words = REFUSED[kind]
    remade(tmp_path / "b.tar", tmp_path / "bad.tar", change)
    before = tree(tmp_path)
    for attempt in (lambda: restore.check(tmp_path / "bad.tar"), lambda: restore.restore(tmp_path / "bad.tar", chosen)):
        with pytest.raises(ApplianceError, match=words):
            attempt()
    after = tree(tmp_path)
    for ending in ("-wal", "-shm"):
        before.pop(f"data/appliance.db{ending}", None), after.pop(f"data/appliance.db{ending}", None)
    assert after == before


@pytest.mark.parametrize("name", ["b.tar", "b.tar.gz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_file_that_was_cut_off_is_refused(name, share, tmp_path, chosen):
    backup.make(chosen, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole.rstrip(b"\0")) * share)])
    with pytest.raises(ApplianceError, match="damaged, cut off or was changed"):
        restore.restore(tmp_path / name, chosen)
    assert (chosen.data / "one" / "metrics.jsonl").is_file()
