"""The site of the documents: what it is made of, its versions, and its picture."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("build_docs", REPOSITORY / "scripts" / "build_docs.py")
assert _SPEC is not None
assert _SPEC.loader is not None
build_docs = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(build_docs)
_LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)\s]*)?\)")


def test_the_picture_is_drawn_from_its_source() -> None:
    assert build_docs.mark_of_picture() in build_docs.PICTURE.read_text(encoding="utf-8"), "run scripts/docs --picture"


def test_every_document_is_in_the_navigation_and_every_link_has_its_file(tmp_path: Path) -> None:
    build_docs.gather(tmp_path)
    pages = {path.relative_to(REPOSITORY) for path in (REPOSITORY / "docs").rglob("*.md")}
    assert pages <= {path.relative_to(tmp_path) for path in tmp_path.rglob("*.md")}
    for page in tmp_path.rglob("*.md"):
        for link in _LINK.findall(page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.relative_to(tmp_path)}: {link}"


@pytest.mark.parametrize(("there", "listed"), [([], []), (["0.9.0", "0.10.0", "0.2.0"], ["0.10.0", "0.9.0", "0.2.0"])])
def test_the_versions_are_those_that_are_there_newest_first(
    there: list[str], listed: list[str], tmp_path: Path
) -> None:
    (tmp_path / "no version").mkdir()
    for name in there:
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.html").touch()
    assert build_docs.write_versions(tmp_path) == listed
    assert json.loads((tmp_path / "versions.json").read_text(encoding="utf-8")) == listed
    first = tmp_path / "index.html"
    assert first.exists() == bool(listed)
    assert not listed or f"{listed[0]}/index.html" in first.read_text(encoding="utf-8")
