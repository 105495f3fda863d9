"""The settings of an edge: what is taken, what is refused, and that a worker's variables may be set beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.domain.edge import Limits
from streams.settings.addresses import ListenAddress, parse_address
from streams.settings.base import SettingsError
from streams.settings.edge import read_edge_settings
from streams.settings.worker import read_settings


def test_an_edge_starts_without_a_single_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    settings = read_edge_settings({})
    assert settings.folder == tmp_path / "tes" / "edge"
    assert settings.milter_address == ListenAddress(str(tmp_path / "tes" / "edge" / "milter.sock"))
    assert settings.http_address is None
    assert not settings.is_enforcing
    assert settings.limits == Limits()
    assert settings.host_name


def test_a_worker_and_an_edge_share_one_environment() -> None:
    both = {"TES_PARTITIONS": "8", "TES_EDGE_MODE": "enforce", "TES_TOPIC_PREFIX": "g2."}
    assert read_settings(both).topic("a") == read_edge_settings(both).topic("a") == "g2.a"
    assert read_settings(both).partitions == 8
    assert read_edge_settings(both).is_enforcing


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("TES_EDGE_MODE", "block", "must be report or enforce"),
        ("TES_EDGE_COLOUR", "red", "unknown setting"),
        ("TES_EDGE_PROBE_MINUTES", "1e308", "must be above 0, and at most 1000000"),
        ("TES_EDGE_MILTER", "/run/tes.sock", "must be unix:/PATH or HOST:PORT"),
        ("TES_EDGE_MILTER", "unix:tes.sock", "must be unix:/PATH"),
        ("TES_EDGE_MILTER", "unix:/" + "x" * 107, "at most 107 bytes"),
        ("TES_EDGE_MILTER", "inet:10.0.0.1:8893", "must be an address of this machine only"),
        ("TES_EDGE_MILTER_MODE", "rw", "must be octal digits"),
        ("TES_EDGE_MILTER_MODE", "1777", "must be octal digits, at most 0777"),
        ("TES_EDGE_HTTP", "127.0.0.1", "must be unix:/PATH or HOST:PORT"),
        ("TES_EDGE_HTTP", "127.0.0.1:65536", "must be unix:/PATH or HOST:PORT"),
        ("TES_EDGE_HTTP", "0.0.0.0:8025", "set TES_EDGE_ALLOW_REMOTE=1"),
        ("TES_EDGE_HTTP", "[::]:8025", "set TES_EDGE_ALLOW_REMOTE=1"),
        ("TES_EDGE_HTTP", "mx.contoso.com:8025", "set TES_EDGE_ALLOW_REMOTE=1"),
        ("TES_EDGE_SPOOL_BYTES", "1000", "must be at least 1048576"),
        ("TES_EDGE_PROBE_MINUTES", "0", "must be above 0"),
        ("TES_EDGE_PROBE_MINUTES", "nan", "must be a value of type float"),
        ("TES_EDGE_TABLE_MAX_AGE_HOURS", "12", "must be at least TES_EDGE_BLOCK_MAX_AGE_HOURS, 24"),
        ("TES_EDGE_HOST", "é", "printable ASCII"),
        ("TES_EDGE_DOOR_PORT", "-1", "must be a port"),
        ("TES_EDGE_SYNC_PORT", "6067", "must be another port than TES_EDGE_DOOR_PORT"),
        ("TES_LOG_FORMAT", "xml", "must be text or json"),
        ("TES_SCHEMA_REGISTRY_URL", "ftp://registry", "must be an address that begins with http"),
        ("TES_KAFKA_BOOTSTRAP", "", "must be host:port"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_rule(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_edge_settings({variable: value})
    assert len(refused.value.errors) == 1
    assert refused.value.errors[0].startswith(f"{variable}: ")
    assert rule in refused.value.errors[0]


def test_every_wrong_setting_is_named_at_once() -> None:
    wrong = {"TES_EDGE_MODE": "x", "TES_EDGE_HTTP": "x", "TES_EDGE_SPOOL_BYTES": "much", "TES_KAFKA_BOOTSTRAP": ""}
    with pytest.raises(SettingsError) as refused:
        read_edge_settings(wrong)
    assert {line.partition(":")[0] for line in refused.value.errors} == set(wrong)


def test_doors_may_listen_for_other_machines_where_that_is_wanted() -> None:
    settings = read_edge_settings({"TES_EDGE_HTTP": "0.0.0.0:8025", "TES_EDGE_ALLOW_REMOTE": "1"})
    assert settings.http_address == ListenAddress(None, "0.0.0.0", 8025)


@pytest.mark.parametrize("text", ["unix:/run/tes.sock", "127.0.0.1:8025", "[::1]:8025", "localhost:0"])
def test_an_address_reads_back_as_it_is_written(text: str) -> None:
    address = parse_address(text)
    assert str(address) == text
    assert address.is_local


def test_an_address_may_be_written_as_an_mta_writes_it() -> None:
    assert parse_address("inet:127.0.0.1:8893") == parse_address("127.0.0.1:8893")
