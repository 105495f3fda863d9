"""What refuses a time quotes it as it was typed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streams.cli import catalogue, policy, submission
from streams.cli.main import main
from streams.cli.times import TypedTime
from streams.domain.policy.policy import Policy
from streams.domain.policy.publication import require_future, same_moment
from streams.domain.tenant.audit import AuditRecord, CommandOutcome
from streams.domain.tenant.commands import CommandKind
from streams.domain.validation import MalformedError, check_moment
from streams.policies.catalogue.files import write_tables
from streams.policies.files import read_policy
from streams.wire.policy import policy_yaml
from tests.support.catalogues import tables

GRANT = ["exception", "grant", "--tenant", "contoso", "--server", "mx1", "--owner", "ops", "--reason", "migration"]
NOW = datetime(2026, 11, 30, tzinfo=UTC)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("text", ["soon", "2026-13-01", "2026-10-31T25:00", "31.10.2026"])
def test_what_is_no_time_is_quoted_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(capsys, "inspect", __file__, "--at", text)
    assert said == f"tes inspect: --at: {text!r}: must be a day or time like 2026-10-31 or 2026-10-31T08:00:00Z\n"


@pytest.mark.parametrize("text", ["1999-12-31", "2100-01-01", "2101-06-01T12:00+02:00"])
def test_an_end_that_no_command_can_hold_is_refused_before_it_is_sent(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submission, "_submit", None)
    said = refusal(capsys, *GRANT, "--expires-at", text)
    assert said == f"tes exception grant: --expires-at: {text}: must be from 2000 to 2099\n"


def test_a_worker_s_refusal_quotes_the_end_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def submit(_: Any, command: dict[str, Any], *__: Any) -> AuditRecord:
        reason = "expires_at: 2026-11-01T22:00:00.000Z: must be after issued_at (2026-11-30T00:00:00.000Z)"
        names = ("audit_id", "command_id", "tenant_id", "issued_by", "before", "after")
        return AuditRecord(
            kind=CommandKind.EXCEPTION_GRANT,
            outcome=CommandOutcome.REFUSED,
            occurred_at=0,
            quota_left_days=5,
            reason=reason,
            **dict.fromkeys(names, "x"),
        )

    monkeypatch.setattr(submission, "_submit", submit)
    assert main([*GRANT, "--expires-at", "2026-11-02T00:00+02:00"]) == 3
    shown = capsys.readouterr().out.splitlines()[0]
    assert shown.endswith("--expires-at: 2026-11-02T00:00+02:00: must be after issued_at (2026-11-30T00:00:00.000Z)")


@pytest.mark.parametrize("text", ["2026-11-01", "2026-11-01T08:00+02:00"])
def test_the_moment_of_a_publication_is_quoted_as_it_was_typed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def publish(*given: Any, **_: Any) -> Any:
        require_future(next(item.effective_at for item in given if isinstance(item, Policy)), NOW)

    async def publish_catalogue(*given: Any, **_: Any) -> Any:
        require_future(next(item for item in given if isinstance(item, datetime)), NOW)

    monkeypatch.setattr(policy, "publish", publish)
    monkeypatch.setattr(catalogue, "publish_catalogue", publish_catalogue)
    said = f"--effective-at: {text}: is in the past (now 2026-11-30T00:00:00+00:00)\n"
    assert refusal(capsys, "policy", "publish", "strict-critical", "--effective-at", text).endswith(said)
    write_tables(tables(), tmp_path / "new")
    assert refusal(capsys, "catalogue", "publish", str(tmp_path / "new"), "--effective-at", text).endswith(said)
    # Without the option it is the file's.
    file = tmp_path / "policy.yaml"
    written = policy_yaml(read_policy("strict-critical"))
    file.write_text(
        re.sub("^effective_at: .*", "effective_at: 2026-11-01T02:00:00+01:00 # soon", written, flags=re.MULTILINE)
    )
    shown = refusal(capsys, "policy", "publish", str(file))
    assert "publish: effective_at: 2026-11-01T02:00:00+01:00: is in the past (now 2026-11-30" in shown
    assert shown.endswith("(give --effective-at)\n")


def test_every_form_in_which_a_rule_shows_a_time_is_known() -> None:
    typed = TypedTime.parse("--effective-at", "2026-09-01")
    known = replace(read_policy("strict-critical"), effective_at=datetime(2026, 9, 1, tzinfo=UTC))
    said = same_moment(replace(known, policy_id="other"), [known])
    assert said is not None
    assert typed.quote(said).startswith("--effective-at: 2026-09-01: strict-critical version")
    late = TypedTime.parse("--expires-at", "2101-01-01")
    with pytest.raises(MalformedError) as refused:
        check_moment("expires_at", late.at, None)
    assert late.quote(str(refused.value)) == "--expires-at: 2101-01-01: must be from 2000 to 2099"
