"""A manifest that is not what a backup writes is refused in one line, and no file outside the folder is read."""

from __future__ import annotations

import copy
import json
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.operations.backup.create import check_backup
from streams.operations.backup.files import FileError, RecordWriter, checksum_of
from streams.operations.backup.manifest import MANIFEST, BackupError, digest_of
from streams.operations.group import CHANGELOG, INPUTS
from streams.state.private_files import create_private, make_private_folder
from streams.state.stores import RocksDBStore

TOPICS = (CHANGELOG, *INPUTS, "enforcement.verdicts.v1")


def backup(folder: Path) -> dict[str, Any]:
    """A backup of one partition with two records in each file."""
    topics: dict[str, Any] = {}
    for name in TOPICS:
        path = folder / f"{name}-0.records.gz"
        with RecordWriter(path) as writer:
            for offset in (3, 5):
                writer.add(SimpleNamespace(offset=offset, timestamp=0, key=b"k", value=b"v", headers=()))
        topics[name] = [{"file": path.name, "records": 2, "begin": 2, "end": 6, "sha256": checksum_of(path)}]
    manifest = {
        "version": 1, "created_at": "2026-11-28T00:00:00.000Z", "app_id": "tes", "topic_prefix": "", "is_live": False,
        "state_format": 3, "topics": topics, "markers": [dict.fromkeys(INPUTS)],
    }  # fmt: skip
    return write(folder, manifest)


def write(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write a manifest with the checksum that it needs."""
    manifest["sha256"] = digest_of(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return manifest


def change(manifest: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(manifest)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


def refusal(folder: Path) -> str:
    with pytest.raises(BackupError) as found:
        check_backup(folder)
    said = str(found.value)
    assert "\n" not in said
    assert len(said) < len(str(folder)) + 1_000
    return said


VERDICTS = ("topics", "enforcement.verdicts.v1", 0)
NAMED = "topics.enforcement.verdicts.v1[0]"


def test_a_whole_backup_passes(tmp_path: Path) -> None:
    manifest = backup(tmp_path)
    assert check_backup(tmp_path) == manifest


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("version",), True, "version: True: must be an integer"),
        (("version",), 2, "version 2: this version reads 1 only"),
        (("created_at",), ["x"], "created_at: ['x']: must be text"),
        (("is_live",), 1, "is_live: 1: must be true or false"),
        (("state_format",), "3", "state_format: '3': must be an integer"),
        (("state_format",), 10**400, "state_format: an integer of 1329 bits: must be an integer"),
        (("topics",), [], "topics: []: must be an object"),
        (("topics",), {}, "topics: []: must have state-changelog"),
        (("topics", CHANGELOG), {}, "topics.state-changelog: {}: must be a list"),
        (("topics", "../x"), [], "topics: '../x': must be a topic's name"),
        (VERDICTS, None, f"{NAMED}: None: must be an object"),
        ((*VERDICTS, "file"), "../../etc/passwd", f"{NAMED}.file: '../../etc/passwd': must be "),
        ((*VERDICTS, "file"), "/dev/zero", f"{NAMED}.file: '/dev/zero': must be "),
        ((*VERDICTS, "file"), f"{CHANGELOG}-0.records.gz", f"{NAMED}.file: 'state-changelog-0.records.gz': must be "),
        ((*VERDICTS, "file"), 7, f"{NAMED}.file: 7: must be "),
        ((*VERDICTS, "records"), 5, f"{NAMED}.records: 5: must be an integer from 0 to 4"),
        ((*VERDICTS, "begin"), -1, f"{NAMED}.begin: -1: must be an integer from 0"),
        ((*VERDICTS, "end"), 1.5, f"{NAMED}.end: 1.5: must be an integer from 2"),
        ((*VERDICTS, "sha256"), "x" * 64, f"{NAMED}.sha256: 'xxx"),
        ((*VERDICTS, "owner"), "me", f"{NAMED}.owner: 'me': is unknown"),
        (("markers",), [], "markers: []: must be a list of 1"),
        (("markers", 0), 5, "markers[0]: 5: must be an object"),
        (("markers", 0, INPUTS[0]), 6, f"markers[0].{INPUTS[0]}: 6: must be an integer from 0 to 5"),
        (("more",), {}, "more: {}: is unknown"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tmp_path: Path, path: tuple[Any, ...], value: Any, said: str) -> None:
    write(tmp_path, change(backup(tmp_path), path, value))
    assert refusal(tmp_path).startswith(f"{tmp_path / MANIFEST}: {said}")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    manifest = backup(tmp_path)
    for name in manifest:
        (tmp_path / MANIFEST).write_text(json.dumps({key: value for key, value in manifest.items() if key != name}))
        assert refusal(tmp_path).endswith(f"{name}: is missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not JSON"),
        ("[" * 200_000, "is nested too deeply"),
        ('{"version": 1, "version": 1}', "version: 1: must occur exactly once"),
        ('{"version": NaN}', "is not JSON: NaN is not a valid value"),
        ('{"version": %s}' % ("9" * 5_000), "is not JSON"),
        ("[1]", "manifest: [1]: must be an object"),
        ("null", "manifest: None: must be an object"),
    ],
)
def test_what_is_no_object_is_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    assert said in refusal(tmp_path)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a manifest."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*path, name)
        yield from places(inner, (*path, name))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("backup")
    return folder, backup(folder)


@given(data=st.data())
def test_any_value_at_any_place_is_refused_or_changes_nothing_that_is_read(
    whole: tuple[Path, dict[str, Any]], data: st.DataObject
) -> None:
    folder, manifest = whole
    path = data.draw(st.sampled_from([one for one in places(manifest) if one != ("sha256",)]))
    changed = write(folder, change(manifest, path, data.draw(ANY_JSON)))
    refused = None
    try:
        assert check_backup(folder) == changed
    except BackupError as error:
        refused = str(error)
    if refused is not None:
        assert str(folder) in refused
        assert "\n" not in refused
        return
    free = ("created_at", "app_id", "topic_prefix", "is_live", "state_format", "markers")
    assert path[0] in free or path[-1] in ("begin", "end") or changed == manifest


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def _socket(path: Path) -> None:
    path.unlink()
    bound = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        bound.bind(path.name)
    finally:
        os.chdir(here)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("replace", [_link, _socket, _pipe, _folder])
@pytest.mark.parametrize("name", [MANIFEST, f"{CHANGELOG}-0.records.gz"])
def test_only_a_regular_file_is_read(tmp_path: Path, replace: Callable[[Path], None], name: str) -> None:
    backup(tmp_path)
    replace(tmp_path / name)
    assert refusal(tmp_path) == f"{tmp_path / name}: must be a regular file, not a link or a device"


def test_counts_and_offsets_are_those_of_the_manifest(tmp_path: Path) -> None:
    manifest = backup(tmp_path)
    write(tmp_path, change(manifest, (*VERDICTS, "records"), 1))
    assert refusal(tmp_path).endswith("contains 2 records: the manifest says 1")
    write(tmp_path, change(manifest, (*VERDICTS, "begin"), 4))
    assert refusal(tmp_path).endswith("record 0 has offset 3: must be from 4 to 5")
    path = tmp_path / manifest["topics"][CHANGELOG][0]["file"]
    path.write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff")
    write(tmp_path, change(manifest, ("topics", CHANGELOG, 0, "sha256"), checksum_of(path)))
    with pytest.raises(FileError, match="damaged"):
        check_backup(tmp_path)


def modes(folder: Path) -> set[str]:
    return {
        f"{'folder' if path.is_dir() else 'file'} {stat.S_IMODE(path.stat().st_mode):o}"
        for path in (folder, *folder.rglob("*"))
    }


@pytest.mark.parametrize("mask", [0, 0o777])
def test_state_and_backups_are_for_their_owner_only(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        make_private_folder(tmp_path / "a" / "b")
        create_private(tmp_path / "a" / "b" / "file").close()
        store = RocksDBStore(tmp_path / "state" / "store")
        store.write({b"a": b"1"})
        store.close()
    finally:
        os.umask(before)
    assert modes(tmp_path / "a") == {"folder 700", "file 600"}
    assert modes(tmp_path / "state") == {"folder 700", "file 600"}


def test_a_state_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "store"
    RocksDBStore(path).close()
    for one in (path, *path.iterdir()):
        one.chmod(0o777)
    RocksDBStore(path).close()
    assert modes(path) == {"folder 700", "file 600"}
