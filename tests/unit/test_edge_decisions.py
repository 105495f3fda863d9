"""The whole decision of an edge, by a reader that knows the published page only, and by the bounds that it names."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from streams.domain.edge import Knowledge, Limits, Trust, trust_in
from streams.domain.time import HOUR_MS, SECOND_MS
from streams.wire.records import parse_moment
from tests.support.edge import answer

REPOSITORY = Path(__file__).parents[2]
VECTORS = REPOSITORY / "docs" / "reference" / "edge-vectors.json"
sys.path.insert(0, str(REPOSITORY / "scripts"))

from generate_edge_vectors import written  # noqa: E402

PLAIN = "Connecting Exchange server version is out-of-date; connection {done} for {{minutes}} mins/hr."
CODES = {"THROTTLE": "450 4.7.230 ", "BLOCK": "550 5.7.230 "}
DAY_HOURS, THREE_DAYS_HOURS = 24, 72


def milliseconds(at: str) -> int:
    return parse_moment("at", at)


def standing(verdict: dict[str, Any], case: dict[str, Any]) -> tuple[str, str | None]:
    """Action and reply for the moment and the knowledge of a case, before anything that the message shows."""
    known, at = case["knowledge"], milliseconds(case["at"])
    if known["confirmed_at"] is None or known["clock_skew_ms"] > 60_000:
        return "ACCEPT", None
    age = at - milliseconds(known["confirmed_at"])
    if age < -60_000 or age > THREE_DAYS_HOURS * HOUR_MS:
        return "ACCEPT", None
    texts = {"THROTTLE": verdict["smtp_template_throttle"], "BLOCK": verdict["smtp_template_block"]}
    plain = {
        name: CODES[name] + PLAIN.format(done=done) for name, done in (("THROTTLE", "throttled"), ("BLOCK", "blocked"))
    }
    usable = {name: text if text and text.startswith(CODES[name]) else plain[name] for name, text in texts.items()}
    given = verdict | {"smtp_template_throttle": usable["THROTTLE"], "smtp_template_block": usable["BLOCK"]}
    if age > DAY_HOURS * HOUR_MS:
        stages = [given, *given["schedule"]]
        merged = [
            stage
            | {
                "throttle_minutes_per_hour": min(
                    60, stage["throttle_minutes_per_hour"] + stage["block_minutes_per_hour"]
                ),
                "block_minutes_per_hour": 0,
            }
            for stage in stages
        ]
        given = merged[0] | {"schedule": merged[1:]}
    action, reply = answer(given, case["at"])
    return action, None if reply is None else "".join(char if " " <= char <= "~" else "?" for char in reply)[:510]


def passes(verdict: dict[str, Any], shown: tuple[str, ...] | None) -> bool:
    """Whether the build that a case shows lets its message in; `GATEWAY` and Exchange Online are told by the case."""
    required = verdict["required_build"]
    if shown is None or required is None:
        return False
    wanted = [int(part) for part in required.split(".")]
    build = [int(part) for part in shown]
    return build[:3] == wanted[:3] and (build[3:] or [0]) >= (wanted[3:] or [0])


def parts_of(build: str | None) -> tuple[str, ...] | None:
    return None if build is None else tuple(build.split("."))


def stamp_of(line: str) -> tuple[str, ...] | None:
    words = line.replace(";", " ").split()
    return tuple(words[words.index("id") + 1].split(".")) if "Microsoft" in words else None


def followed(verdict: dict[str, Any] | None, case: dict[str, Any]) -> tuple[str | None, str | None]:
    if verdict is None:
        return "ACCEPT", None
    action, reply = standing(verdict, case)
    if "findings" in case:
        last, at = case["findings"][-3:], milliseconds(case["at"])
        is_one = len(last) == 3 and all(item["server"] == verdict["server"] for item in last)
        is_fresh = is_one and 0 <= at - milliseconds(last[-1]["made_at"]) < 5 * 60_000
        is_let_in = any(item["has_passed"] or passes(verdict, parts_of(item["build"])) for item in last)
        may = is_fresh and not verdict["is_mixed"] and not is_let_in
        return (action, reply) if may and action != "ACCEPT" else (None, None)
    received = case["message"]["received"]
    build = stamp_of(received[0]) if received else None
    is_foreign = bool(received) and (build is None or build[:2] == ("15", "20"))
    return ("ACCEPT", None) if is_foreign or passes(verdict, build) else (action, reply)


def test_the_published_vectors_hold_for_an_edge_that_knows_the_documents_only() -> None:
    assert VECTORS.read_text(encoding="utf-8") == written()
    causes: Counter[str | None] = Counter()
    for vector in json.loads(VECTORS.read_text(encoding="utf-8")):
        for case in vector["cases"]:
            causes[case["cause"]] += 1
            assert followed(vector["verdict"], case) == (case["action"], case["reply"]), (vector["says"], case)
    wanted = (
        "NO_VERDICT",
        "PAUSED",
        "FREE_MINUTE",
        "ACCEPTED_STAMP",
        "GATEWAY",
        "EMPTY",
        "STALE",
        "CLOCK",
        "AGED",
        None,
    )
    assert all(causes[cause] for cause in wanted)


@pytest.mark.parametrize(
    ("age", "trust"),
    [
        (0, Trust.CURRENT),
        (24 * HOUR_MS, Trust.CURRENT),
        (24 * HOUR_MS + 1, Trust.AGED),
        (72 * HOUR_MS, Trust.AGED),
        (72 * HOUR_MS + 1, Trust.STALE),
        (-60 * SECOND_MS, Trust.CURRENT),
        (-60 * SECOND_MS - 1, Trust.CLOCK),
    ],
)
def test_what_an_edge_knows_counts_less_as_it_grows_old(age: int, trust: Trust) -> None:
    now = 1_800_000_000_000
    assert trust_in(Knowledge(now - age), now, Limits()) is trust


def test_a_wrong_clock_enforces_nothing_however_fresh_the_knowledge() -> None:
    now = 1_800_000_000_000
    assert trust_in(Knowledge(now, 60_000), now, Limits()) is Trust.CURRENT
    assert trust_in(Knowledge(now, 60_001), now, Limits()) is Trust.CLOCK
    assert trust_in(Knowledge(None, 60_001), now, Limits()) is Trust.EMPTY
