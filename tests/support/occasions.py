"""A notice of each kind, as the engine would write it."""

from __future__ import annotations

from typing import Any, Final

from streams.domain.outputs.notification import NotificationKind
from streams.domain.time import DAY_MS
from tests.support.notice_receivers import NOW
from tests.support.report import notification_record

_REMEDY: Final = {"name": "Exchange Server 2016 CU23 Oct24SU", "kb": "KB5044062"}
_EPISODE: Final[dict[str, Any]] = {
    "severity": "WARNING",
    "stage": 2,
    "action": "THROTTLE",
    "finding": "OUT_OF_DATE",
    "build": "15.1.2507.39",
    "required_build": "15.1.2507.61",
    "remedy": _REMEDY,
    "detected_at": NOW - 40 * DAY_MS,
    "next_stage_at": NOW + 5 * DAY_MS,
    "throttle_minutes_per_hour": 10,
    "block_minutes_per_hour": 0,
    "link": "https://aka.ms/BlockUnsafeExchange",
    "evidence": {
        "received": "from EX03.corp.contoso.com (10.1.4.17) by mx1.contoso.com (10.1.4.11) with Microsoft SMTP Server"
        " (version=TLS1_2,\r\n\tcipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.39; Mon, 30 Nov 2026"
        " 00:53:12 +0100",
        "position": 0,
        "protocol": "Microsoft SMTP Server",
        "event_id": "c000002-b68a752e",
        "message_id": "<41b67d50187e@contoso.com>",
        "connector_id": "inbound-contoso",
        "source_ip": "192.0.2.17",
        "observed_at": NOW,
    },
    "cves": [f"CVE-2024-{number}" for number in range(49030, 49041)],
}
_CHANGES: Final[dict[NotificationKind, dict[str, Any]]] = {
    NotificationKind.SERVER_DETECTED: {"stage": 1, "throttle_minutes_per_hour": 0, "action": "ACCEPT"},
    NotificationKind.STAGE_UPCOMING: {"throttle_minutes_per_hour": 20},
    NotificationKind.STAGE_ENTERED: {"severity": "CRITICAL", "action": "BLOCK", "block_minutes_per_hour": 5},
    NotificationKind.SERVER_RESOLVED: {
        "severity": "INFO", "finding": "COMPLIANT", "build": "15.1.2507.61", "remedy": None, "next_stage_at": None,
        "stage": 0, "action": "ACCEPT", "cves": [],
    },
    NotificationKind.SERVER_VANISHED: {"severity": "INFO", "next_stage_at": None},
    NotificationKind.POLICY_ANNOUNCED: {"stage": 0, "detected_at": None, "throttle_minutes_per_hour": None},
    NotificationKind.PAUSE_STARTED: {"server": None, "paused_until": NOW + 30 * DAY_MS, "quota_left_days": 60},
    NotificationKind.PAUSE_EXTENDED: {"paused_until": NOW + 60 * DAY_MS, "quota_left_days": 30},
    NotificationKind.PAUSE_ENDING: {"server": None, "paused_until": NOW + DAY_MS, "quota_left_days": 1},
    NotificationKind.COMMAND_REFUSED: {
        "title": "Your command was refused", "text": "PAUSE_CREATE: the quota of 90 days in 2026 would be exceeded.",
    },
    NotificationKind.EXCEPTION_GRANTED: {"paused_until": NOW + 90 * DAY_MS},
}  # fmt: skip


def occasion(kind: NotificationKind, **changes: Any) -> dict[str, Any]:
    """The record of a notice of this kind."""
    record = {**_EPISODE, "kind": kind, "occurred_at": NOW, **_CHANGES.get(kind, {}), **changes}
    if record.get("server", "") is None or kind.startswith(("PAUSE", "COMMAND")):
        record = {name: value for name, value in record.items() if name not in _EPISODE} | {"severity": "INFO"}
    return notification_record(1, **record)
