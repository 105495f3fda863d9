"""Catalogues as files and as records say the same; what must not be published is refused by field, value and rule."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.cli.main import main
from streams.domain.exchange.build import Product, parse_build
from streams.domain.exchange.tables import FILES, MAX_ERRORS, CatalogueError, Tables, catalogue_of
from streams.domain.policy.content import PolicyError
from streams.domain.policy.policy import Policy
from streams.domain.policy.rulebook import PublishedCatalogue
from streams.policies.catalogue.files import read_catalogue_folder, shipped_catalogue, shipped_tables, write_tables
from streams.policies.catalogue.topic import MAX_CATALOGUE_BYTES
from streams.policies.configured import policy_topic_of
from streams.policies.files import parse_policy
from streams.policies.reader import PublishedReader
from streams.policies.topic import PolicyTopic
from streams.settings.worker import Settings
from streams.testing import FakeRecord
from streams.wire.catalogue import (
    catalogue_record,
    differences,
    published_catalogue_of,
    summary,
    tables_of,
)
from streams.wire.codec import AvroCodec
from streams.wire.policy import from_millis, policy_record, policy_yaml
from streams.wire.records import parse_moment
from streams.wire.registry import LocalRegistry
from tests.support.catalogues import NEW_BUILD, NEW_CVE, of_a_new_line, published, tables

SHIPPED_BUILDS = Path(__file__).parents[2] / "streams" / "policies" / "data" / "exchange_builds.csv"
AT = parse_moment("at", "2026-11-10T00:00:00Z")
CODEC = AvroCodec("catalogue", LocalRegistry())


def changed(table: str, number: int, **cells: str) -> Tables:
    """The shipped tables with other cells in one row."""
    found = shipped_tables()
    rows = list(found.rows[table])
    rows[number] = rows[number] | cells
    return Tables({**found.rows, table: tuple(rows)}, found.places)


def test_a_catalogue_survives_the_wire_and_files(tmp_path: Path) -> None:
    known = published(3, AT, tables(), published_at=AT - 1000)
    value = CODEC.encode(catalogue_record(known, tables(), "operator", "somewhere"))
    record = CODEC.decode(value)
    again = published_catalogue_of(record)
    assert (again.version, again.effective_at, again.published_at) == (3, known.effective_at, known.published_at)
    assert tables_of(record) == tables()
    assert seen_in(again) == seen_in(known)
    write_tables(tables_of(record), tmp_path)
    assert read_catalogue_folder(str(tmp_path))[0] == tables()


def seen_in(found: PublishedCatalogue) -> list[Any]:
    """What a catalogue says of every build that was ever published, and of every product."""
    catalogue = found.catalogue
    builds = [parse_build(row["build"]) for row in csv.DictReader(SHIPPED_BUILDS.open(encoding="utf-8"))]
    assert len(builds) > 400
    of_builds = [
        (
            catalogue.name(build),
            catalogue.counted_as(build),
            catalogue.released_on(build),
            catalogue.missing_fixes(build),
        )
        for build in builds
    ]
    return [of_builds, *((catalogue.support_ends_on(item), catalogue.esu_ends_on(item)) for item in Product)]


def test_the_shipped_catalogue_fits_into_a_record_many_times() -> None:
    value = CODEC.encode(catalogue_record(published(1, AT, shipped_tables()), shipped_tables()))
    assert len(value) * 5 < MAX_CATALOGUE_BYTES


@pytest.mark.parametrize(
    ("table", "cells", "said"),
    [
        ("builds", {"build": "15.1.2507"}, "build: '15.1.2507': must be a build of four"),
        ("builds", {"build": "15.1.x.1"}, "build: '15.1.x.1': must be a build of four"),
        ("builds", {"build": "15.20.1.1"}, "build: '15.20.1.1': is not a build of a judged product"),
        ("builds", {"build": "99.1.1.1"}, "build: '99.1.1.1': is not a build of a judged product"),
        ("builds", {"product": "Exchange Server 2099"}, "product: 'Exchange Server 2099': unknown product"),
        ("builds", {"product": "Exchange Online"}, "product: 'Exchange Online': unknown product"),
        ("builds", {"product": "Exchange Server 2019"}, "product: 'Exchange Server 2019': is not the product of"),
        ("builds", {"release_date": "01.09.2026"}, "release_date: '01.09.2026': must be a date like 2026-09-01"),
        ("builds", {"release_date": "20260901"}, "release_date: '20260901': must be a date like 2026-09-01"),
        ("builds", {"release_date": "2026-02-30"}, "release_date: '2026-02-30': must be a date"),
        ("builds", {"release_date": ""}, "release_date: '': must be a date"),
        ("builds", {"release_date": "1989-01-01"}, "release_date: '1989-01-01': must be a date"),
        ("builds", {"kb": "5066366"}, "kb: '5066366': must be empty or an article"),
        ("builds", {"is_security_update": "yes"}, "is_security_update: 'yes': must be true or false"),
        ("builds", {"release": "CU\u20e3"}, "must be ASCII"),
        ("builds", {"update": "a\nb"}, "must have no control or format characters"),
        ("builds", {"source": "a\u202eb"}, "must have no control or format characters"),
        ("builds", {"update": "x" * 101}, "must be ASCII of at most 100 characters"),
        ("builds", {"source": "x" * 4001}, "must have at most 4000 characters"),
        ("builds", {"release": "", "update": ""}, "release: '': is empty, as is the update"),
        ("aliases", {"maps_to": "15.1.2507.9999"}, "maps_to: '15.1.2507.9999': is not among the builds"),
        ("aliases", {"maps_to": ""}, "maps_to: '': must be a build of four"),
        ("aliases", {"relation": "friend"}, "relation: 'friend': must be one of typo"),
        ("aliases", {"build": "15.1.2507.61"}, "build: '15.1.2507.61': is a published build"),
        ("aliases", {"maps_to": "15.1.2507.61"}, "maps_to: '15.1.2507.61': is a build of another product"),
        ("cves", {"cve": "CVE-26-1"}, "cve: 'CVE-26-1': must be an identifier"),
        ("cves", {"kev_date": "soon"}, "kev_date: 'soon': must be a date"),
        ("fixes", {"cve": "CVE-1999-0001"}, "cve: 'CVE-1999-0001': is not among the vulnerabilities"),
        ("fixes", {"fixed_build": "14.9.496.0"}, "fixed_build: '14.9.496.0': is of a CU line that is not among"),
        ("fixes", {"fixed_date": "2026-13-01"}, "fixed_date: '2026-13-01': must be a date"),
        ("lifecycle", {"product": "Exchange"}, "product: 'Exchange': unknown product"),
        ("lifecycle", {"esu_end": "never"}, "esu_end: 'never': must be a date"),
    ],
)
def test_a_malformed_row_is_refused_by_place_field_value_and_rule(table: str, cells: dict[str, str], said: str) -> None:
    with pytest.raises(CatalogueError) as refused:
        catalogue_of(changed(table, 0, **cells))
    found = [error for error in refused.value.errors if said in error]
    assert found, refused.value.errors
    assert found[0].startswith(f"built in/{FILES[table][0]}:2: ")


@pytest.mark.parametrize("table", FILES)
def test_a_row_that_is_listed_twice_is_refused(table: str) -> None:
    found = shipped_tables()
    rows = (*found.rows[table], found.rows[table][0])
    places = {**found.places, table: [*found.places[table], "the last"]}
    with pytest.raises(CatalogueError, match=r"^the last: \w+: '[^']+': is listed twice$"):
        catalogue_of(Tables({**found.rows, table: rows}, places))


def test_an_alias_of_an_alias_and_a_preview_that_stands_for_a_build_are_refused() -> None:
    alias = shipped_tables().rows["aliases"][1]["build"]
    with pytest.raises(CatalogueError, match=f"maps_to: '{alias}': is an alias itself"):
        catalogue_of(changed("aliases", 2, maps_to=alias))
    with pytest.raises(CatalogueError, match=r"maps_to: .*: a preview is not an alias of another build"):
        catalogue_of(changed("aliases", 0, relation="preview"))


def test_a_catalogue_without_a_build_is_refused_and_errors_are_bounded() -> None:
    found = shipped_tables()
    with pytest.raises(CatalogueError) as refused:
        catalogue_of(Tables({**found.rows, "builds": ()}, {**found.places, "builds": ()}))
    assert refused.value.errors[0] == "builds: none: a catalogue needs at least one build"
    assert len(refused.value.errors) <= MAX_ERRORS


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("kind,", "sort,", 1), "heading: 'product,release,update,sort"),
        (lambda text: text.replace("kind,", "", 1), "must be product,release,update,kind"),
        (lambda text: text + "one,two\n", "has 2 cells, the heading 9"),
        (lambda text: text + "\xff", "codec can't decode"),
        (lambda text: "", "heading: ''"),
        (lambda text: text + "x" * (2 << 20), "has more than 2097152 bytes"),
        (lambda text: text + 'a,"b\n', "unexpected end of data"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(
    tmp_path: Path, change: Callable[[str], str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(shipped_tables(), tmp_path)
    file = tmp_path / "exchange_builds.csv"
    file.write_bytes(change(file.read_text()).encode("latin-1"))
    assert main(["catalogue", "check", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{file}: ")
    assert said in line


def test_a_folder_that_lacks_files_is_refused_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["catalogue", "check", str(tmp_path / "none")]) == 2
    assert "must be a folder with exchange_builds.csv" in capsys.readouterr().err
    assert main(["catalogue", "check", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(tmp_path / name) for name, _ in FILES.values()]


def test_differences_name_table_row_and_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = dict(tables().rows)
    rows["lifecycle"] = (rows["lifecycle"][0] | {"esu_end": "2027-01-01"}, *rows["lifecycle"][1:])
    after = Tables(rows, tables().places)
    before = tables(build=None)
    found = list(differences(before, after))
    assert summary(found) == "1 build added, 1 cve added, 1 fix added, 1 lifecycle changed"
    assert [str(item).partition(":")[0] for item in found] == [
        f"+ build {NEW_BUILD}",
        f"+ cve {NEW_CVE}",
        f"+ fix {NEW_CVE} {NEW_BUILD}",
        "~ lifecycle Exchange 2000 Server",
    ]
    assert str(found[-1]).endswith(": esu_end: - -> 2027-01-01")
    assert {item.sign for item in differences(after, before)} == {"-", "~"}
    for name, content in (("before", before), ("after", after)):
        write_tables(content, tmp_path / name)
    assert main(["catalogue", "diff", str(tmp_path / "before"), str(tmp_path / "after"), "--json"]) == 1
    assert [row["table"] for row in json.loads(capsys.readouterr().out)] == ["builds", "cves", "fixes", "lifecycle"]
    assert main(["catalogue", "diff", "builtin", "builtin"]) == 0


def test_the_builtin_catalogue_is_shown_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalogue", "show", "builtin", "--out", str(tmp_path / "out")]) == 0
    assert read_catalogue_folder(str(tmp_path / "out"))[0] == shipped_tables()
    capsys.readouterr()
    assert main(["catalogue", "show", "builtin"]) == 0
    assert shipped_tables().newest_day in capsys.readouterr().out
    assert main(["catalogue", "show", "builtin", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["builds"]) == len(shipped_tables().rows["builds"])


# --- the topic, as every worker reads it ---


def topic() -> PolicyTopic:
    return policy_topic_of(Settings())


def record_of(offset: int, value: bytes) -> FakeRecord:
    return FakeRecord("t", offset, 0, b"k", value)


def catalogue_value(found: PublishedCatalogue, content: Tables, **fields: Any) -> bytes:
    return CODEC.encode(catalogue_record(found, content) | fields)


def policy_value(policy: Policy) -> bytes:
    return topic().policies.encode(policy_record(policy))


def test_a_malformed_catalogue_is_refused_once_and_those_known_stay(caplog: pytest.LogCaptureFixture) -> None:
    good = catalogue_value(published(2, AT, tables()), tables())
    build = catalogue_record(published(3, AT + 1, tables()), tables())["builds"]
    bad = [
        b"no record",
        catalogue_value(published(2, AT + 1, tables()), tables()),
        catalogue_value(published(1, AT + 1, tables()), tables()),
        catalogue_value(published(4, AT, tables()), tables()),
        catalogue_value(published(5, AT + 2, tables()), tables(), builds=[build[0] | {"release_date": 2**31 - 1}]),
        catalogue_value(published(6, AT + 3, tables()), tables(), published_at=AT + 3),
        catalogue_value(published(7, AT + 3, tables()), tables(), effective_at=2**62),
        catalogue_value(published(8, AT + 4, tables()), tables(), version=0),
    ]
    reader = PublishedReader(topic())
    with caplog.at_level(logging.ERROR):
        assert reader.take([record_of(0, good), *(record_of(1 + at, value) for at, value in enumerate(bad))], [])
        assert not reader.take([], [])
    assert [item.version for item in reader.published.catalogues] == [2]
    assert [getattr(line, "event", "") for line in caplog.records] == ["catalogue_refused"] * len(bad)
    said = [line.getMessage() for line in caplog.records]
    for line, words in zip(
        said[1:],
        (
            "version: 2: must be above 2",
            "version: 1: must be above 2",
            "effective_at: 2026-11-10T00:00:00+00:00: version 2 takes effect at this time",
            "catalogue 5: builds[0]: release_date: 'day 2147483647': must be a date",
            "catalogue 6: effective_at: 2026-11-10T00:00:00.003000+00:00: must be after published_at",
            "effective_at, published_at: 4611686018427387904",
            "catalogue 0: version: 0: must be at least 1",
        ),
        strict=True,
    ):
        assert words in line
    assert reader.take([record_of(20, catalogue_value(published(9, AT + 9, tables()), tables()))], [])
    assert [item.version for item in reader.published.catalogues] == [2, 9]


@pytest.mark.parametrize("is_catalogue_first", [True, False])
def test_a_policy_is_checked_against_the_catalogue_in_force_when_it_begins(is_catalogue_first: bool) -> None:
    of_new_line = tables(build="15.1.2600.1")
    catalogue = [record_of(0, catalogue_value(published(1, AT, of_new_line), of_new_line))]
    policies = [record_of(0, policy_value(of_a_new_line(AT - 1))), record_of(1, policy_value(of_a_new_line(AT, 2)))]
    reader = PublishedReader(topic())
    if is_catalogue_first:
        reader.take(catalogue, policies)
    else:
        assert not reader.take([], policies)
        assert reader.take(catalogue, [])
    assert [policy.version for policy in reader.published.policies] == [2]


def test_a_policy_file_may_be_checked_against_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = policy_yaml(of_a_new_line(AT))
    with pytest.raises(PolicyError, match="is of a CU line that is not in the catalogue"):
        parse_policy(text, "p", shipped_catalogue())
    (tmp_path / "p.yaml").write_text(text)
    write_tables(tables(build="15.1.2600.1"), tmp_path / "tables")
    assert main(["policy", "check", str(tmp_path / "p.yaml")]) == 2
    assert main(["policy", "check", str(tmp_path / "p.yaml"), "--catalogue", str(tmp_path / "tables")]) == 0
    assert main(["policy", "check", str(tmp_path / "p.yaml"), "--catalogue", str(tmp_path / "none")]) == 2
    assert "must be a folder" in capsys.readouterr().err


# --- simulate and what-if ---

SIMULATE = ("simulate", "--feed", "examples/feed.jsonl", "--policy", "strict-critical")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The servers that the sample feed leaves under the shipped catalogue."""
    folder = tmp_path_factory.mktemp("shipped")
    assert main([*SIMULATE, "--out", str(folder)]) == 0
    return folder / "servers.jsonl"


@pytest.mark.no_cover
def test_a_simulation_takes_catalogues_from_their_moments_on(
    servers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(tables(fixed_on="2026-06-09"), tmp_path / "tables")
    assert main([*SIMULATE, "--catalogue", f"{tmp_path / 'tables'}@2027-01-01", "--out", str(tmp_path / "two")]) == 0
    assert servers.read_bytes() == (tmp_path / "two" / "servers.jsonl").read_bytes()
    assert main([*SIMULATE, "--catalogue", str(tmp_path / "tables"), "--out", str(tmp_path / "three")]) == 0
    reasons = (tmp_path / "three" / "verdicts.jsonl").read_text()
    assert NEW_CVE in reasons
    assert NEW_CVE not in (tmp_path / "two" / "verdicts.jsonl").read_text()
    for moment, said in (("@x", "--catalogue: 'x': must be a day or time"), ("/none", "must be a folder")):
        assert main([*SIMULATE, "--catalogue", f"{tmp_path / 'tables'}{moment}", "--out", str(tmp_path / "no")]) == 2
        assert said in capsys.readouterr().err
    twice = ["--catalogue", str(tmp_path / "tables")] * 2
    assert main([*SIMULATE, *twice, "--out", str(tmp_path / "no")]) == 2
    assert "takes effect at this time" in capsys.readouterr().err


def test_a_what_if_of_a_catalogue_names_the_servers_that_change(
    servers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(tables(build=None), tmp_path / "lenient")
    words = ["whatif", "--servers", str(servers), "--current", "strict-critical", "--json"]
    capsys.readouterr()
    assert main([*words, "--catalogue", str(tmp_path / "lenient")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["policy"] is None
    assert found["totals"]["released"] == len(found["changes"]) > 0
    assert main([*words, "--catalogue", "builtin"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"]["changed"] == 0
    assert main(words) == 2
    assert "--policy, --catalogue: neither given" in capsys.readouterr().err


@pytest.mark.no_cover
@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(FILES)),
    st.integers(0, 7),
    st.integers(0, 8),
    st.one_of(st.text(max_size=30), st.sampled_from(["15.1.2507.61", "999999999.1.1.1", "2026-09-08", "true", ""])),
)
def test_any_text_in_any_cell_is_refused_or_taken(table: str, number: int, column: int, text: str) -> None:
    columns = FILES[table][1]
    found = changed(table, number, **{columns[column % len(columns)]: text})
    errors: list[str] = []
    try:
        catalogue = catalogue_of(found)
    except CatalogueError as error:
        errors = error.errors
    assert all(line.isprintable() for line in errors)
    if errors:
        return
    record = catalogue_record(PublishedCatalogue(1, from_millis(AT), catalogue), found)
    assert tables_of(CODEC.decode(CODEC.encode(record))) == found
