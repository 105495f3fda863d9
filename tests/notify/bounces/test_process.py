"""The process that tells people takes bounces from its start on, whatever else is away."""

from __future__ import annotations

import smtplib
import urllib.request
from pathlib import Path

import pytest

from tests.support.bounces import DOMAIN, hand_in, report
from tests.support.ports import free_port
from tests.support.process import Process


def variables(folder: Path, lmtp: str, web_port: int) -> dict[str, str]:
    """Settings of a process whose Kafka and relay are away."""
    return {
        "TES_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "TES_REPORT_DIR": str(folder),
        "TES_REPORT_PUBLIC_URL": "https://tes.contoso.example",
        "TES_NOTIFY_PORT": str(web_port),
        "TES_NOTIFY_SMTP_HOST": "127.0.0.1",
        "TES_NOTIFY_SMTP_PORT": str(free_port()),
        "TES_NOTIFY_MAIL_FROM": "tes@contoso.example",
        "TES_NOTIFY_BOUNCE_DOMAIN": DOMAIN,
        "TES_NOTIFY_LMTP": lmtp,
    }


@pytest.mark.parametrize("is_unix", [False, True], ids=["tcp", "unix"])
def test_bounces_are_taken_while_kafka_is_away(tmp_path: Path, is_unix: bool) -> None:
    web_port, port, path = free_port(), free_port(), tmp_path / "lmtp.sock"
    lmtp = f"unix:{path}" if is_unix else f"127.0.0.1:{port}"
    process = Process(tmp_path / "log", variables(tmp_path, lmtp, web_port), "notify")
    try:
        process.until_ready(web_port, "/startupz")
        with smtplib.LMTP(str(path)) if is_unix else smtplib.LMTP("127.0.0.1", port) as client:
            assert hand_in(client, f"bounce+{'0' * 48}@{DOMAIN}", report())[0] == 550
        with urllib.request.urlopen(f"http://127.0.0.1:{web_port}/metrics", timeout=30) as page:
            assert 'tes_notify_bounces_total{kind="stray"} 1.0' in page.read().decode()
    finally:
        process.end()
    assert not path.exists()


def test_a_process_that_cannot_listen_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = Process(tmp_path / "log", variables(tmp_path, f"unix:{tmp_path / 'file'}", free_port()), "notify")
    assert process.ended() == 2
    assert "is a file that is no socket" in process.log
