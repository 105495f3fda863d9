"""Connectors: what a file may say, whose client is told to be whose, and what stays in force when a set is refused."""

from __future__ import annotations

import asyncio
import json
import os
import random
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from streams.domain.policy.policy import ConnectorType
from streams.edge.client import Client, Connector
from streams.edge.connectors.entries import MAX_CONTACTS, ConnectorsError
from streams.edge.connectors.files import read_connectors
from streams.edge.connectors.matching import Matcher
from streams.edge.connectors.running import RunningConnectors, published_entries
from streams.edge.connectors.topic import record_of
from streams.notify.contacts import contacts_of
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

FINGERPRINT = "ab" * 32
COLONS = ":".join(["AB"] * 32)


def entry(connector: str = "main", tenant: str = "contoso", kind: str = "ON_PREMISES", **match: Any) -> str:
    lines = [f"- connector_id: {connector}", f"  tenant_id: {tenant}", f"  type: {kind}", "  match:"]
    return "\n".join([*lines, *(f"    {name}: {json.dumps(values)}" for name, values in match.items())]) + "\n"


def write(path: Path, *entries: str) -> Path:
    # A new file under the old name, as tools that publish files do it.
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(entries), encoding="utf-8")
    fresh.replace(path)
    return path


def errors_of(path: Path, *entries: str) -> list[str]:
    with pytest.raises(ConnectorsError) as refused:
        read_connectors(write(path / "connectors.yaml", *entries))
    return refused.value.errors


def test_a_client_is_told_by_certificate_before_address(tmp_path: Path) -> None:
    path = write(
        tmp_path / "connectors.yaml",
        entry("print", tls_fingerprints=[COLONS]),
        entry("name", tenant="fabrikam", kind="PARTNER", tls_subjects=["MX1.Contoso.com.", "*.contoso.com"]),
        entry("wide", cidrs=["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"]),
    )
    matcher = Matcher(read_connectors(path))
    wide, name = Connector("contoso", "wide"), Connector("fabrikam", "name", ConnectorType.PARTNER)
    assert matcher.find(Client("10.1.2.3", tls_subject="mx1.contoso.com", tls_fingerprint=FINGERPRINT)) == Connector(
        "contoso", "print"
    )
    assert matcher.find(Client("10.1.2.3", tls_subject="mx1.CONTOSO.com", tls_fingerprint="cd" * 32)) == name
    assert matcher.find(Client("10.1.2.3", tls_subject="*.contoso.com")) == name
    assert matcher.find(Client("10.1.2.3", tls_subject="mx2.contoso.com")) == wide
    assert matcher.find(Client("2001:db8::1")) == wide
    assert matcher.find(Client("192.0.2.1")) is None
    assert matcher.find(Client("2001:db9::1")) is None
    assert matcher.find(Client("not an address")) is None


def test_addresses_are_found_as_the_networks_say(tmp_path: Path) -> None:
    chance = random.Random(5)
    networks = [ip_network((chance.getrandbits(32) & 0xFFFF0000, 16)) for _ in range(200)]
    networks += [ip_network((chance.getrandbits(128) >> 96 << 96, 32)) for _ in range(200)]
    entries = [entry(f"c{place}", cidrs=[str(network)]) for place, network in enumerate(set(networks))]
    matcher = Matcher(read_connectors(write(tmp_path / "connectors.yaml", *entries)))
    for place, network in enumerate(set(networks)):
        inside = ip_address(int(network.network_address) + chance.randrange(network.num_addresses))
        found = matcher.find(Client(str(inside)))
        assert found is not None
        assert found.connector_id == f"c{place}"
        behind = ip_address(int(network.broadcast_address) + 1)
        assert (matcher.find(Client(str(behind))) is not None) == any(behind in one for one in networks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry(cidrs=["10.0.0.1/8"]), ":5: contoso/main: match.cidrs[0]: '10.0.0.1/8': has bits set behind the prefix"),
        (entry(cidrs=["10.0.0.0/33"]), "match.cidrs[0]: '10.0.0.0/33': must be a range of addresses"),
        (entry(cidrs=["::ffff:10.0.0.0/104"]), "must be written as a range of IPv4"),
        (entry(tls_subjects=["Contoso Ltd"]), "match.tls_subjects[0]: 'Contoso Ltd': must be a name"),
        (entry(tls_fingerprints=["ab:cd"]), "match.tls_fingerprints[0]: 'ab:cd': must be the SHA-256"),
        (entry(), "contoso/main: match: 'None': must be a mapping"),
        (entry(cidrs=[]), "must have a value in at least one of tls_subjects, tls_fingerprints, cidrs"),
        (entry(kind="NONE", cidrs=["10.0.0.0/8"]), "type: 'NONE': must be one of ON_PREMISES, PARTNER"),
        (entry(tenant="a b", cidrs=["10.0.0.0/8"]), "entry 1: tenant_id: 'a b': must match"),
        (entry(tenant="0123", cidrs=["10.0.0.0/8"]), "entry 1: tenant_id: '83': must be text: put it in quotes"),
        (entry(connector='"a\\x1b"', cidrs=["10.0.0.0/8"]), "must be 1 to 255 printable characters"),
        (entry(cidrs=["10.0.0.0/8"]) + "  colour: red\n", "colour: 'red': unknown; known are connector_id"),
        (entry(cidr=["10.0.0.0/8"]), "match.cidr: \"['10.0.0.0/8']\": unknown; known are tls_subjects"),
        ("- 5\n", ":1: entry 1: '5': must be a mapping"),
        ("a: 5\n", "must be a list of connectors"),
        ("", "must be a list of connectors"),
        ("- &a 5\n", "anchors and aliases are not allowed"),
        ("- [\n", "not YAML"),
    ],
)
def test_an_error_names_file_entry_field_and_value(tmp_path: Path, text: str, said: str) -> None:
    (error,) = errors_of(tmp_path, text)
    assert error.startswith(str(tmp_path / "connectors.yaml"))
    assert said in error


def test_every_error_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    wrong = [entry(f"c{place}", kind="NONE", cidrs=["10.0.0.1/8"]) for place in range(3)]
    assert len(errors_of(tmp_path, *wrong)) == 6
    assert len(errors_of(tmp_path, *[entry(f"c{place}", kind="NONE") for place in range(500)])) == 100


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"cidrs": ["10.0.0.0/8"]}, {"cidrs": ["10.0.0.0/8"]}, "overlaps '10.0.0.0/8'"),
        ({"cidrs": ["10.0.0.0/8"]}, {"cidrs": ["10.200.0.0/16"]}, "'10.200.0.0/16': overlaps '10.0.0.0/8'"),
        ({"cidrs": ["10.200.0.1/32"]}, {"cidrs": ["0.0.0.0/0"]}, "'10.200.0.1/32': overlaps '0.0.0.0/0'"),
        ({"cidrs": ["2001:db8::/32"]}, {"cidrs": ["2001:db8:1::/48"]}, "overlaps '2001:db8::/32'"),
        ({"tls_subjects": ["a.b"]}, {"tls_subjects": ["A.B."]}, "'a.b'"),
        ({"tls_fingerprints": [FINGERPRINT]}, {"tls_fingerprints": [COLONS]}, FINGERPRINT),
    ],
)
def test_connectors_that_claim_the_same_are_refused_and_both_named(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], said: str
) -> None:
    between = entry("between", cidrs=["10.0.0.0/24"]) if "cidrs" not in one else ""
    (error,) = errors_of(tmp_path, entry("one", **one), between, entry("other", tenant="fabrikam", **other))
    assert said in error
    assert "contoso/one" in error
    assert "fabrikam/other" in error


def test_ranges_that_only_touch_and_those_of_one_connector_are_no_overlap(tmp_path: Path) -> None:
    text = entry("one", cidrs=["10.0.0.0/9", "10.0.0.0/16"]) + entry("two", cidrs=["10.128.0.0/9", "2001:db8::/32"])
    assert len(read_connectors(write(tmp_path / "connectors.yaml", text))) == 2


def test_a_connector_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    (error,) = errors_of(tmp_path, entry(cidrs=["10.0.0.0/8"]), entry(cidrs=["11.0.0.0/8"]))
    assert "contoso/main" in error
    assert "has it already" in error


@pytest.mark.parametrize("kind", ["folder", "missing", "pipe", "binary", "large"])
def test_what_is_no_file_of_connectors_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "connectors.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "binary":
        path.write_bytes(b"\xff\xfe\x00")
    elif kind == "large":
        path.write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConnectorsError, match=r"connectors.yaml: (must be|larger than)"):
        read_connectors(path)


class Published:
    """What the topic holds."""

    def __init__(self) -> None:
        self.connectors_version = 0
        self.rows: list[bytes] = []

    def connectors(self) -> list[bytes]:
        return self.rows

    def publish(self, *rows: dict[str, object]) -> None:
        self.rows = [json.dumps({"tenant_id": "fabrikam", "type": "PARTNER", **row}).encode() for row in rows]
        self.connectors_version += 1


class Refusals:
    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def names(running: RunningConnectors, *addresses: str) -> list[str | None]:
    found = [running.find(Client(address)) for address in addresses]
    return [None if one is None else one.connector_id for one in found]


def test_a_changed_file_is_in_force_without_a_restart_and_a_bad_one_is_not(tmp_path: Path) -> None:
    path, refusals = write(tmp_path / "connectors.yaml", entry("one", cidrs=["10.0.0.0/8"])), Refusals()
    running = RunningConnectors(path, Published(), refusals)
    running.start()
    assert names(running, "10.0.0.1", "11.0.0.1") == ["one", None]
    write(path, entry("two", cidrs=["11.0.0.0/8"]))
    asyncio.run(running.poll())
    assert names(running, "10.0.0.1", "11.0.0.1") == [None, "two"]
    write(path, entry("three", cidrs=["11.0.0.1/8"]))
    asyncio.run(running.poll())
    asyncio.run(running.poll())
    assert names(running, "11.0.0.1") == ["two"]
    assert refusals.count == 1
    assert "three" in running.errors[0]
    path.unlink()
    asyncio.run(running.poll())
    assert names(running, "11.0.0.1") == ["two"]
    assert "must be a readable file" in running.errors[0]
    write(path, entry("four", cidrs=["11.0.0.0/8"]))
    asyncio.run(running.poll())
    assert names(running, "11.0.0.1") == ["four"]
    assert not running.errors


def test_a_bad_file_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConnectorsError, match=r"none\.yaml: must be a readable file"):
        RunningConnectors(tmp_path / "none.yaml", Published(), Refusals()).start()


def test_connectors_of_the_file_and_of_the_topic_are_in_force_together(tmp_path: Path) -> None:
    path, published, refusals = write(tmp_path / "c.yaml", entry("one", cidrs=["10.0.0.0/8"])), Published(), Refusals()
    published.publish({"connector_id": "two", "cidrs": ["11.0.0.0/8"], "published_by": "me"})
    running = RunningConnectors(path, published, refusals)
    running.start()
    assert names(running, "10.0.0.1", "11.0.0.1") == ["one", "two"]
    assert running.counts == {"file": 1, "topic": 1}
    published.publish({"connector_id": "two", "cidrs": ["10.1.0.0/16"]})
    asyncio.run(running.poll())
    assert names(running, "10.1.0.1", "11.0.0.1") == ["one", "two"]
    assert refusals.count == 1
    assert "fabrikam/two" in running.errors[0]
    assert "contoso/one" in running.errors[0]
    write(path, entry("one", cidrs=["12.0.0.0/8"]))
    asyncio.run(running.poll())
    assert names(running, "10.1.0.1", "12.0.0.1") == ["two", "one"]


def test_a_topic_that_overlaps_at_the_start_leaves_the_file_in_force(tmp_path: Path) -> None:
    published, refusals = Published(), Refusals()
    published.publish({"connector_id": "two", "cidrs": ["10.1.0.0/16"]})
    running = RunningConnectors(write(tmp_path / "c.yaml", entry("one", cidrs=["10.0.0.0/8"])), published, refusals)
    running.start()
    assert names(running, "10.1.0.1") == ["one"]
    assert refusals.count == 1


def test_connectors_on_disk_that_are_lost_stay_in_force_until_they_are_read_again() -> None:
    published, refusals = Published(), Refusals()
    published.publish({"connector_id": "two", "cidrs": ["10.1.0.0/16"]})
    running = RunningConnectors(None, published, refusals)
    running.start()
    published.connectors_version, published.rows = 0, []
    asyncio.run(running.poll())
    assert names(running, "10.1.0.1") == ["two"]


def test_a_record_of_the_topic_that_is_malformed_is_refused_and_one_of_another_type_ignored() -> None:
    assert published_entries([b'{"tenant_id":"a","connector_id":"b","type":"NONE"}']) == []
    with pytest.raises(ConnectorsError, match=r"enforcement.connectors.v1: a/b: match: .*must have a value"):
        published_entries([b'{"tenant_id":"a","connector_id":"b","type":"PARTNER"}'])
    with pytest.raises(ConnectorsError, match=r"entry 1: 'None': must be a mapping"):
        published_entries([b"\x00"])


def test_contacts_of_a_file_are_those_that_are_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "connectors.yaml",
        entry("one", cidrs=["192.0.2.0/24"]) + "  contacts: [ops@contoso.com, admin@bücher.example]\n",
        entry("two", cidrs=["198.51.100.0/24"]) + "  contacts: [ops@contoso.com]\n",
        entry("three", tenant="fabrikam", cidrs=["203.0.113.0/24"]),
    )
    codec = AvroCodec("connector", LocalRegistry())
    published = {"published_at": 1, "published_by": "test", "source": "connectors.yaml"}
    records = [codec.decode(codec.encode(record_of(one) | published)) for one in read_connectors(path)]
    told = contacts_of((record["tenant_id"], tuple(record["contacts"])) for record in records)
    assert told == {"contoso": ("admin@bücher.example", "ops@contoso.com")}


@pytest.mark.parametrize(
    ("contacts", "said"),
    [
        ("admin@contoso.com", ":6: contoso/main: contacts: 'admin@contoso.com': must be a list"),
        ("[7]", "contacts[0]: '7': must be text"),
        ("[Admin <admin@contoso.com>]", "contacts[0]: 'Admin <admin@contoso.com>': must be an address of a mailbox"),
        ('["a@b.example\\r\\nBcc: c@d.example"]', "must be an address of a mailbox"),
        (json.dumps([f"a{n}@contoso.com" for n in range(MAX_CONTACTS + 1)]), f"must be at most {MAX_CONTACTS}"),
    ],
)
def test_what_is_no_contact_is_refused(tmp_path: Path, contacts: str, said: str) -> None:
    (error,) = errors_of(tmp_path, entry(cidrs=["192.0.2.0/24"]) + f"  contacts: {contacts}\n")
    assert said in error
