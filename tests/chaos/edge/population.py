"""The servers that send mail, and the verdicts about them."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.support.edge_files import BLOCK, THROTTLE

TENANTS = ("contoso", "fabrikam")
OLD, GOOD = "15.1.2507.39", "15.1.2507.44"
LINE = "from a by {server} (192.0.2.1) with Microsoft SMTP Server id {build}; Tue, 1 Sep 2026 00:00:00 +0000"
KINDS: dict[str, tuple[int, int]] = {
    "blocked": (0, 60),
    "throttled": (60, 0),
    "partly": (20, 20),
    "paused": (0, 60),
    "patched": (0, 60),
    "compliant": (0, 0),
}
"""Minutes of each hour in which mail is delayed, and in which it is refused; an unknown server has no verdict."""
COUNTS = {"blocked": 3, "throttled": 3, "partly": 3, "paused": 1, "patched": 2, "compliant": 4, "unknown": 8}
"""How many servers of each kind a tenant has."""
PAUSED_UNTIL = 4_000_000_000_000


class Sender(NamedTuple):
    """A server with its address; `passes` is whether its own stamp lets it in, whatever the verdict says."""

    tenant: str
    server: str
    kind: str
    address: str
    build: str
    passes: bool

    @property
    def key(self) -> str:
        """As verdicts name it."""
        return f"{self.tenant}/{self.server}"

    @property
    def line(self) -> str:
        """The `Received` value of its messages."""
        return LINE.format(server=self.server, build=self.build)


def senders() -> list[Sender]:
    """All servers of all tenants."""
    found: list[Sender] = []
    for place, tenant in enumerate(TENANTS):
        for kind, count in COUNTS.items():
            for number in range(count):
                is_patched = kind == "patched"
                build = GOOD if is_patched else OLD
                address = f"192.0.2.{10 + 100 * place + len(found) % 100}"
                found.append(Sender(tenant, f"{kind}{number}.{tenant}.example", kind, address, build, is_patched))
    return found


def verdict_record(sender: Sender, revision: int = 1, **changes: Any) -> dict[str, Any]:
    """A verdict as its topic has it, with moments in UTC milliseconds."""
    throttle, block = KINDS.get(sender.kind, (0, 0))
    return {
        "verdict_id": f"{sender.key}-{revision}",
        "revision": revision,
        "tenant_id": sender.tenant,
        "server": sender.server,
        "identity": "STAMP",
        "action": "BLOCK" if block else "THROTTLE" if throttle else "ACCEPT",
        "stage": 8 if block else 2 if throttle else 0,
        "throttle_minutes_per_hour": throttle,
        "block_minutes_per_hour": block,
        "finding": "OUT_OF_DATE",
        "reason": "",
        "required_build": GOOD,
        "cves": [],
        "effective_at": 1,
        "schedule": [],
        "paused_until": PAUSED_UNTIL if sender.kind == "paused" else None,
        "smtp_template_throttle": THROTTLE,
        "smtp_template_block": BLOCK,
        "policy_id": "p",
        "policy_version": 1,
        "issued_at": 1,
        **changes,
    }


def verdict_records(revision: int = 1) -> list[dict[str, Any]]:
    """A verdict about each server that is not unknown."""
    return [verdict_record(one, revision) for one in senders() if one.kind in KINDS]


def filler_records(count: int) -> list[dict[str, Any]]:
    """Verdicts about servers that send nothing."""
    servers = (f"blocked{number}.adatum.example" for number in range(count))
    return [verdict_record(Sender("adatum", server, "blocked", "192.0.2.9", OLD, passes=False)) for server in servers]
