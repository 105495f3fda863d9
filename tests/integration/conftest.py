"""`tes` on the cluster corner of a test, and a broker that asks who its clients are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from streams.cli.main import main
from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.dev.security import BrokerSecurity
from streams.settings.worker import Settings
from tests.support.certificates import Authority
from tests.support.secured_broker import USERS, Secured


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker, for the session."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    certificate, _ = authority.certificate("broker")
    security = BrokerSecurity(certificate, authority.file, USERS)
    with EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars(), security=security) as kafka:
        yield Secured(kafka, authority, folder)


@pytest.fixture
def tes(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `tes` on the cluster corner of this test; gives exit code, stdout and stderr.

    What a worker beside it logs, a process of its own, is no part of them.
    """
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return run
