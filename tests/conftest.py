"""What every test has: the checkout's own folder for the jars, a broker for the session, and markers by folder."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import coverage
import hypothesis
import pytest

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.settings.worker import Settings

os.environ.setdefault("TES_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".cache"))

# No test may depend on how fast a machine is.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")
# A failed check of a helper has to say what differed; pytest does so by itself only for test modules.
pytest.register_assert_rewrite("tests.support")

TESTS = Path(__file__).parent
NEED_A_BROKER = (
    TESTS / "integration",
    TESTS / "contract/kafka",
    TESTS / "examples",
    TESTS / "notify/kafka",
    TESTS / "report/kafka",
    TESTS / "chaos/test_verifier.py",
    TESTS / "mail/test_demo.py",
    TESTS / "mail/test_end_to_end.py",
)
"""Folders and files whose tests are marked `kafka`."""
BROKER_FIXTURES = frozenset(("bootstrap", "secured"))
"""Those that start one; the fixtures that use these count too."""
NEED_A_MAIL_SERVER = TESTS / "mail"
"""Folder whose tests are marked `mail`."""
NEED_TOOLCHAINS = TESTS / "examples"
"""Folder whose tests are marked `examples`."""
NEED_A_BROWSER = (TESTS / "report/browser", TESTS / "notify/browser")
"""Folders whose tests are marked `browser`."""

NOT_COUNTED = tuple(TESTS / name for name in ("chaos", "compiled", "deploy", "fuzz", "monitoring", "property"))
"""Folders whose tests are marked `no_cover`: what chance and whole processes reach, no test may have looked at."""


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Leave one measurement of coverage in a process that runs a share of the tests.

    pytest-cov begins one with its options and another with the session, and pauses only that one for `no_cover`. The
    first, whose result nobody reads, would go on and take a test up to four times as long.
    """
    begun = coverage.Coverage.current()
    if begun is not None and hasattr(session.config, "workerinput"):
        begun.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a broker, a mail server, a browser or toolchains, and what does not count for coverage.

    Raises:
        pytest.UsageError: a test elsewhere asks for a broker.
    """
    for item in items:
        if item.path.is_relative_to(NEED_A_MAIL_SERVER):
            item.add_marker(pytest.mark.mail)
        if item.path.is_relative_to(NEED_TOOLCHAINS):
            item.add_marker(pytest.mark.examples)
        if any(item.path.is_relative_to(place) for place in NEED_A_BROWSER):
            item.add_marker(pytest.mark.browser)
        if any(item.path.is_relative_to(place) for place in NOT_COUNTED):
            item.add_marker(pytest.mark.no_cover)
        if any(item.path.is_relative_to(place) for place in NEED_A_BROKER):
            item.add_marker(pytest.mark.kafka)
        elif isinstance(item, pytest.Function) and BROKER_FIXTURES & set(item.fixturenames):
            raise pytest.UsageError(f"{item.nodeid} needs a broker: put it where `NEED_A_BROKER` says")


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker of this session."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka"), jars_dir=ensure_jars()) as kafka:
        yield kafka.bootstrap


@pytest.fixture
def settings(bootstrap: str, tmp_path: Path) -> Settings:
    """A corner of the cluster for one test: topics, group and state of its own."""
    name = uuid.uuid4().hex[:8]
    return Settings(
        bootstrap=bootstrap,
        app_id=f"tes-{name}",
        topic_prefix=f"{name}.",
        partitions=3,
        state_dir=str(tmp_path / "state"),
        session_timeout_seconds=6.0,
        batch_records=50,
        gather_seconds=0.05,
    )
