"""The answer at the top of the report: what it says in each situation, and what of the rows it follows from."""

from __future__ import annotations

from typing import Any

import pytest

from streams.database.database import Database
from streams.domain.time import DAY_MS
from streams.report.model.batch import SERVERS
from streams.report.page.answer import NONE_AFFECTED, Affected, Situation, answer
from streams.report.store.writer import Writer
from streams.texts.languages import language_of
from tests.support.page_client import client_of, read
from tests.support.page_world import ADMIN, NOW, Engine
from tests.support.report import START, batch_of, read_of, report_record

EN, ES, DE = (language_of(code) for code in ("en", "es", "de"))


def write(database: Database, records: list[dict[str, Any]]) -> None:
    Writer(database, lambda _: None).write(batch_of([read_of(SERVERS, n, one) for n, one in enumerate(records)]))


def situation(**changes: Any) -> Situation:
    facts: dict[str, Any] = {"blocked": NONE_AFFECTED, "delayed": NONE_AFFECTED, "blocking_at": None}
    others: dict[str, Any] = {"unseen_since": None, "paused_until": None, "quota_left_days": None}
    return Situation(**{"counts": {}, **facts, **others, "now": NOW, **changes})


def test_the_answer_names_what_is_delayed_and_when_blocking_begins() -> None:
    counts = {"COMPLIANT": 12, "THROTTLED": 1, "REPORTED": 1}
    delayed = Affected(1, ("ex03",))
    found = answer(EN, situation(counts=counts, delayed=delayed, blocking_at=NOW + 12 * DAY_MS))
    assert found.sentence == "2 of 14 servers are out of date."
    assert found.more == (
        "Mail from ex03 is delayed now; blocking begins in 12 days, on 9 December 2026. "
        "Install the updates that the table names."
    )
    assert found.role == "delayed"
    assert (
        "in 12 Tagen, am 9. Dezember 2026" in answer(DE, situation(counts=counts, blocking_at=NOW + 12 * DAY_MS)).more
    )


@pytest.mark.parametrize(
    ("changes", "sentence", "more", "role"),
    [
        ({}, "No server of yours has connected yet.", "There is nothing to do", "good"),
        ({"counts": {"COMPLIANT": 13, "RESOLVED": 1}}, "All 14 servers are up to date.", "nothing to do", "good"),
        ({"counts": {"COMPLIANT": 1}}, "Your server is up to date.", "nothing to do", "good"),
        ({"counts": {"COMPLIANT": 1, "UNDETERMINED": 1}}, "None of your 2 servers is out of date.", "nothing", "good"),
        (
            {"counts": {"COMPLIANT": 1, "VANISHED": 1}, "unseen_since": START},
            "All servers that were seen lately are up to date; 1 was not seen since 4 September 2026.",
            "Check its build before it sends mail again.",
            "gone",
        ),
        (
            {"counts": {"UNDETERMINED": 1, "VANISHED": 2}, "unseen_since": START},
            "No server that was seen lately is out of date; 2 were not seen since 4 September 2026.",
            "Check their builds before they send mail again.",
            "gone",
        ),
        (
            {"counts": {"VANISHED": 1}, "unseen_since": START},
            "Your server was not seen since 4 September 2026.",
            "Check its build before it sends mail again.",
            "gone",
        ),
        (
            {"counts": {"MIXED": 1}, "delayed": Affected(1, ("ex03",))},
            "1 of 1 servers is out of date.",
            "Mail from ex03 is delayed now.",
            "delayed",
        ),
        (
            {"counts": {"MIXED": 1}, "blocked": Affected(1, ("ex03",))},
            "1 of 1 servers is out of date.",
            "Mail from ex03 is blocked now.",
            "blocked",
        ),
        ({"counts": {"REPORTED": 1}}, "1 of 1 servers is out of date.", "Install", "reported"),
        (
            {"counts": {"BLOCKED": 4}, "blocked": Affected(4, ("a", "b"))},
            "4 of 4 servers are out of date.",
            "Mail from a, b and 2 others is blocked now.",
            "blocked",
        ),
        (
            {"counts": {"PAUSED": 2}, "paused_until": START, "quota_left_days": 31},
            "Enforcement is paused until 4 Sept 2026, 00:00 UTC; 31 days of pause are left in 2026.",
            "2 of 2 servers are out of date.",
            "held",
        ),
    ],
)
def test_the_answer_changes_with_the_state(changes: dict[str, Any], sentence: str, more: str, role: str) -> None:
    found = answer(EN, situation(**changes))
    assert found.sentence == sentence
    assert more in found.more
    assert found.role == role


def test_the_answer_about_what_was_not_seen_is_in_every_language() -> None:
    here = situation(counts={"COMPLIANT": 1, "VANISHED": 1}, unseen_since=START)
    assert answer(ES, here).sentence == (
        "Todos los servidores vistos últimamente están actualizados; 1 sin ver desde el 4 de septiembre de 2026."
    )
    assert answer(DE, here).sentence == (
        "Alle zuletzt gesehenen Server sind aktuell; 1 wurde seit dem 4. September 2026 nicht gesehen."
    )


def test_a_name_in_the_answer_can_be_seen_and_is_not_endless() -> None:
    counts = {"BLOCKED": 1}
    found = answer(EN, situation(counts=counts, blocked=Affected(1, ("\u202e" + "x" * 300,))))
    assert "\\u202exxx" in found.more
    assert len(found.more) < 200


@pytest.mark.parametrize(
    ("stage", "action", "expected", "role"),
    [
        (1, "ACCEPT", "No mail is delayed yet", "reported"),
        (2, "THROTTLE", "Mail from m1.contoso.com is delayed now; blocking begins in 12 days", "delayed"),
        (8, "BLOCK", "Mail from m1.contoso.com is blocked now.", "blocked"),
    ],
)
def test_the_answer_says_what_happens_to_mail_of_a_mixed_server(
    empty_database: Database, stage: int, action: str, expected: str, role: str
) -> None:
    block = {"stage": 8, "starts_at": NOW + 12 * DAY_MS, "throttle_minutes_per_hour": 0, "block_minutes_per_hour": 60}
    facts = {"status": "MIXED", "stage": stage, "action": action, "schedule": [block]}
    record = report_record("m1.contoso.com", NOW, next_stage_start_date=NOW + DAY_MS, **facts)
    write(empty_database, [record])
    with client_of(Engine(empty_database), ADMIN) as client:
        html = client.get("/").text
    assert expected in read(html)[0]
    assert f'<h1 class="answer {role}">' in html


def test_every_mixed_server_is_counted(empty_database: Database) -> None:
    facts = {"status": "MIXED", "stage": 2, "action": "THROTTLE"}
    records = [report_record(f"m{number}.contoso.com", NOW, **facts) for number in range(5)]
    records.append(report_record("t1.contoso.com", NOW, **(facts | {"status": "THROTTLED"})))
    write(empty_database, records)
    with client_of(Engine(empty_database), ADMIN) as client:
        assert "Mail from t1.contoso.com, m0.contoso.com and 4 others is delayed now." in read(client.get("/").text)[0]


def test_a_server_that_vanished_out_of_date_is_no_good_news(empty_database: Database) -> None:
    records = [
        report_record("v1.contoso.com", START, status="VANISHED", stage=1),
        report_record("v2.contoso.com", START + DAY_MS, status="VANISHED", stage=1),
        report_record("a.contoso.com", NOW, status="COMPLIANT", finding="COMPLIANT"),
    ]
    write(empty_database, records)
    with client_of(Engine(empty_database), ADMIN) as client:
        said = read(client.get("/").text)[0]
    assert "are up to date; 2 were not seen since 5 September 2026. Check their builds" in said
    assert "There is nothing to do" not in said
