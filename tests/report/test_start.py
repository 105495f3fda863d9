"""What `tes report` is given and cannot use is named in a line, and no traceback."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.process import command_of, environment_of


@pytest.mark.parametrize(("words", "code"), [((), 2), (("migrate",), 1), (("rebuild",), 1)])
@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("postgresql://report@db:port/report", "TES_REPORT_DATABASE"),
        ("postgresql:///report?host=a,b&port=1,2,3", "number of hosts and ports"),
    ],
)
def test_an_address_that_is_none_is_refused(words: tuple[str, ...], code: int, address: str, why: str) -> None:
    variables = {"TES_REPORT_DATABASE": address, "TES_REPORT_PORT": "0"}
    done = subprocess.run(
        command_of("report", *words), env=environment_of(variables), capture_output=True, text=True, check=False
    )
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (2 if "TES_REPORT" in why else code)
