"""What a mail that came back says; a stranger may have written it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.notify.bounces.reports import NO_REPORT, ReportKind, read_report
from tests.support.bounces import MESSAGE_ID, REFUSED, report

AUTO_REPLY = (
    b"From: a@b.example\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away. 550 5.1.1\r\n"
)


@pytest.mark.parametrize("status_type", ["message/delivery-status", "message/global-delivery-status"])
@pytest.mark.parametrize("returned_type", ["text/rfc822-headers", "message/rfc822", "message/global-headers"])
def test_a_refusal_for_good_is_read_with_its_reason_and_its_mail(status_type: str, returned_type: str) -> None:
    found = read_report(report(status_type=status_type, returned_type=returned_type))
    assert found.kind is ReportKind.PERMANENT
    assert found.why == f"it came back: {REFUSED}"
    assert (found.code, found.message_id) == (550, MESSAGE_ID)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"status": "5.7.1 (policy)"}, ReportKind.PERMANENT),
        ({"action": "Failed (permanently)"}, ReportKind.PERMANENT),
        ({"action": "delayed", "status": "4.4.1"}, ReportKind.TEMPORARY),
        ({"action": "failed", "status": "4.4.7"}, ReportKind.TEMPORARY),
        ({"action": "failed", "status": "unknown"}, ReportKind.TEMPORARY),
        ({"action": "delayed", "status": "5.1.1"}, ReportKind.TEMPORARY),
        ({"action": "delivered", "status": "2.1.5"}, ReportKind.OTHER),
        ({"action": "relayed", "status": "5.1.1"}, ReportKind.OTHER),
        ({"groups": ""}, ReportKind.OTHER),
        ({"kind": "multipart/mixed"}, ReportKind.OTHER),
        ({"status_type": "text/plain"}, ReportKind.OTHER),
    ],
)
def test_only_a_failure_for_good_is_one(changes: dict[str, str], kind: ReportKind) -> None:
    assert read_report(report(**changes)).kind is kind


def test_the_gravest_of_several_recipients_counts() -> None:
    groups = "Action: delayed\nStatus: 4.2.2\n\nAction: failed\nStatus: 5.2.1\n"
    found = read_report(report(groups=groups, diagnostic="X-Postfix; mailbox disabled"))
    assert (found.kind, found.why, found.code) == (ReportKind.PERMANENT, "it came back: 5.2.1 mailbox disabled", None)


def test_a_report_without_words_or_mail_still_counts() -> None:
    found = read_report(report(diagnostic="", message_id=None))
    assert (found.kind, found.why, found.message_id) == (ReportKind.PERMANENT, "it came back: 5.1.1", None)


def test_what_a_stranger_writes_is_bounded_and_visible() -> None:
    found = read_report(report(diagnostic="smtp; 550 \u202e\x1b[2J" + "x" * 50_000))
    assert found.kind is ReportKind.PERMANENT
    assert len(found.why) <= 300
    assert found.why.isprintable()


@pytest.mark.parametrize("content", [b"", b"\0\xff", AUTO_REPLY, b"Content-Type: multipart/report\r\n\r\n"])
def test_answers_of_people_and_machines_are_no_reports(content: bytes) -> None:
    assert read_report(content) == NO_REPORT


def test_parts_within_parts_end_somewhere() -> None:
    nested = b"".join(b'Content-Type: multipart/report; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(5_000))
    assert read_report(nested) == NO_REPORT


def test_a_header_of_a_stranger_s_takes_no_time_that_grows_with_its_square() -> None:
    """The library takes minutes for so many parameters, in which no other report is read."""
    hostile = 'multipart/report; boundary="edge"; x="' + ("\n " + ";" * 900) * 1_000
    assert read_report(report(kind=hostile)).kind is ReportKind.PERMANENT


def test_what_comes_behind_many_lines_is_not_read() -> None:
    """The library looks at each line once for every part that it is in, however deep."""
    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(300))
    many = report().replace(b"--edge--\r\n", b"--edge\r\n" + nested + b"\r" * 900_000)
    assert read_report(many).message_id == MESSAGE_ID
    late = report().replace(b"Reporting-MTA:", b"X-Long: line\r\n" * 10_000 + b"Reporting-MTA:")
    assert read_report(late).kind is ReportKind.OTHER


@given(st.binary(max_size=2_000), st.integers(0, 1_200), st.integers(0, 200))
def test_no_mail_is_at_fault(noise: bytes, at: int, length: int) -> None:
    whole = report()
    read_report(whole[:at] + noise + whole[at + length :])
