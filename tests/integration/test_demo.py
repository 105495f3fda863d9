"""The part of the demo that serves the report: people of its tenant are told by mail."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from email import message_from_bytes, policy
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.timeout(600)
def test_the_demo_writes_the_mails_that_people_would_get(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/demo_report.py", "--port", "0", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = next((line for line in process.stdout if line.startswith("Notices for ")), "")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    found = re.fullmatch(r"Notices for (\S+) go as mails to (\S+), into (\S+); there are (\d+)\.\n", said)
    assert found is not None, said
    tenant, contact, folder, count = found.groups()
    mails = sorted(Path(folder).glob("*.eml"))
    assert 0 < int(count) <= len(mails)
    for path in mails:
        mail = message_from_bytes(path.read_bytes(), policy=policy.default)
        assert mail["To"] == contact
        plain = mail.get_body(("plain",))
        assert plain is not None
        assert tenant in plain.get_content()
        assert path.with_suffix(".html").exists()
