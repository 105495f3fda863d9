"""The pages for MTAs show the very lines that are tested, and name files that are there."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import REPOSITORY
from tests.deploy.systemd import FOLDER

HOW_TO = REPOSITORY / "docs" / "how-to"
MTAS = REPOSITORY / "deploy" / "mta"
POSTFIX = sorted((MTAS / "postfix").iterdir())
WITH_RULES = [(name, path) for name in ("exim", "rspamd", "haraka", "kumomta") for path in (MTAS / name).iterdir()]


def page(name: str) -> str:
    return (HOW_TO / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", POSTFIX, ids=lambda path: path.name)
def test_the_page_of_postfix_shows_its_lines_as_they_are(path: Path) -> None:
    assert textwrap.indent(path.read_text(encoding="utf-8"), "    ") in page("postfix")
    assert f"`{path.relative_to(REPOSITORY)}`" in page("postfix")


@pytest.mark.parametrize(("name", "path"), WITH_RULES, ids=[name for name, _ in WITH_RULES])
def test_each_other_page_names_its_file(name: str, path: Path) -> None:
    assert f"`{path.relative_to(REPOSITORY)}`" in page(name)


def test_the_example_of_connectors_is_the_one_that_is_installed() -> None:
    (shown,) = re.findall(r"^((?:    .*\n)+)(?=\n    /opt/tes/bin/tes connectors check)", page("postfix"), re.MULTILINE)
    assert yaml.safe_load(shown) == yaml.safe_load((FOLDER / "connectors.yaml").read_text())


@pytest.mark.parametrize("name", ["postfix", *dict.fromkeys(name for name, _ in WITH_RULES)])
def test_every_file_that_a_page_copies_is_there(name: str) -> None:
    for path in re.findall(r"\bdeploy/[\w./-]+\w", page(name)):
        assert (REPOSITORY / path).exists(), path


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in WITH_RULES))
def test_each_rule_asks_where_the_page_lets_the_door_listen(name: str) -> None:
    (address,) = set(re.findall(r"TES_EDGE_HTTP=(\S+)", page(name)))
    host, port = address.split(":")
    texts = page(name) + "".join(path.read_text() for folder, path in WITH_RULES if folder == name)
    assert re.search(rf"{re.escape(host)}(:|', port: ){port}", texts.replace(f"TES_EDGE_HTTP={address}", ""))
