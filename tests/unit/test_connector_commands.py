"""`tes connectors check`: what it says of a file, and its exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.cli.main import main


def test_a_sound_file_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "connectors.yaml"
    file.write_text('- {connector_id: a, tenant_id: b, type: PARTNER, match: {cidrs: ["192.0.2.0/24"]}}\n')
    assert main(["connectors", "check", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: valid, connectors: 1\n"


def test_every_error_of_a_file_is_a_line_that_no_terminal_obeys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "connectors.yaml"
    file.write_text('- {connector_id: "a\\e", tenant_id: b, type: PARTNER, match: {cidrs: ["192.0.2.1/24"]}}\n')
    assert main(["connectors", "check", str(file)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 2
    assert "\x1b" not in err
    assert "match.cidrs[0]: '192.0.2.1/24': has bits set behind the prefix; the range is 192.0.2.0/24" in err
    assert main(["connectors", "publish", str(file)]) == 2
