"""The parts of a service that targets share: rules, codecs and a partition in memory."""

from __future__ import annotations

from functools import cache

from streams.domain.policy.policy import ConnectorType
from streams.domain.policy.rulebook import Rulebook
from streams.domain.server.connection import InboundConnection
from streams.domain.tenant.commands import AdminCommand, CommandKind, Role
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.files import read_policy
from streams.settings.worker import DEFAULT_POLICY
from streams.wire.codec import AvroCodec
from streams.wire.registry import LocalRegistry

TENANT = "contoso"
SERVER = "mx.example.com"
START = 1_800_000_000_000
"""2027-01-15, UTC milliseconds: after every shipped policy began."""
LINE = (
    "from edge.example.com (192.0.2.7) by MX.example.com (192.0.2.8) with Microsoft SMTP Server"
    " (version=TLS1_2, cipher=TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384) id 15.1.2507.39; Mon, 1 Dec 2025 10:00:00 +0000"
)


def check_reason(error: Exception, most_chars: int) -> None:
    """An error says something, and no more than a log can take, whatever the input's length."""
    assert 0 < len(str(error)) < most_chars


@cache
def rulebook() -> Rulebook:
    """The shipped rules."""
    return Rulebook((read_policy(DEFAULT_POLICY),), shipped_catalogue())


@cache
def codec(schema: str) -> AvroCodec:
    """The codec of a schema with the committed ids."""
    return AvroCodec(schema, LocalRegistry())


def connection() -> InboundConnection:
    """The connection that makes `SERVER` known, and vulnerable."""
    kind = ConnectorType.ON_PREMISES
    return InboundConnection("e0", START, TENANT, "on-premises", kind, "192.0.2.8", SERVER, (LINE,))


def pause() -> AdminCommand:
    """A command that is accepted."""
    kind = CommandKind.PAUSE_CREATE
    return AdminCommand("c0", TENANT, START, "admin", Role.TENANT_ADMIN, kind, days=5)
