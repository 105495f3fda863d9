"""The sample feed: reproducible, and holding what it says it holds."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from streams.cli.simulate import read_connection
from streams.domain.exchange.build import Product
from streams.domain.exchange.detection import Origin
from streams.domain.server.connection import InboundConnection
from streams.domain.server.sighting import detect_server
from streams.domain.validation import MalformedError
from streams.wire.records import parse_moment

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "scripts"))

from generate_feed import generate  # noqa: E402

COMMITTED = REPOSITORY / "examples" / "feed.jsonl"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return COMMITTED.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def connections(lines: list[str]) -> tuple[list[InboundConnection], int]:
    valid, refused = [], 0
    for line in lines:
        try:
            valid.append(read_connection(line.encode()))
        except MalformedError:
            refused += 1
    return valid, refused


def test_the_committed_feed_is_what_the_generator_makes(lines: list[str]) -> None:
    assert list(generate(seed=7, tenants=48, servers=264, connections=33_000, days=120)) == lines


def test_another_seed_gives_another_feed(lines: list[str]) -> None:
    assert list(generate(seed=8, tenants=3, servers=20, connections=200, days=30)) != lines[:200]


def test_its_size(connections: tuple[list[InboundConnection], int]) -> None:
    valid, refused = connections
    assert len(valid) >= 30_000
    assert refused == 12
    assert len({event.tenant_id for event in valid}) >= 40
    assert len({detect_server(event).key for event in valid}) >= 250
    span = max(event.observed_at for event in valid) - parse_moment("start", "2026-06-01T00:00:00Z")
    assert 119 * 86_400_000 < span <= 120 * 86_400_000


def test_every_generation_is_in_it(connections: tuple[list[InboundConnection], int]) -> None:
    found = [detect_server(event).detection for event in connections[0]]
    products = {detection.build.product for detection in found if detection.build}
    assert products == set(Product) - {Product.EXCHANGE_2000, Product.EXCHANGE_2003}
    assert {detection.origin for detection in found} == set(Origin) - {Origin.HTTP_DAV, Origin.IMS}
    assert {"Microsoft SMTP Server", "mapi", "ShadowRedundancy", "Microsoft SMTPSVC"} <= {d.protocol for d in found}


def test_duplicates_and_late_events_are_in_it(connections: tuple[list[InboundConnection], int]) -> None:
    valid = connections[0]
    assert 50 < len(valid) - len({event.event_id for event in valid}) < 400
    assert sum(later.observed_at < event.observed_at for event, later in pairwise(valid)) > 200
