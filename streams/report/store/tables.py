"""The tables of the read model, as statements name them; `migrations` makes them.

Moments are UTC milliseconds, days whole days since 1970. `detail` is a record as JSON without its nulls. Every key has
the tenant first. `partition` and `source_offset` say which record of its topic a row shows.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, MetaData, Table, Text

NEVER: Final = 2**53 - 1
"""Stands for a moment that does not come, so that it is the last in an index."""

METADATA: Final = MetaData()


def _text(name: str, *, is_key: bool = False, is_nullable: bool = False) -> Column[str]:
    return Column(name, Text, primary_key=is_key, nullable=is_nullable)


def _integer(name: str, *, is_key: bool = False, is_nullable: bool = False) -> Column[int]:
    return Column(name, Integer, primary_key=is_key, nullable=is_nullable, autoincrement=False)


def _long(name: str, *, is_key: bool = False, is_nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=is_key, nullable=is_nullable, autoincrement=False)


def _source() -> tuple[Column[int], Column[int]]:
    return _integer("partition"), _long("source_offset")


SERVER: Final = Table(
    "server",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("server", is_key=True),
    _integer("urgency"),
    _long("next_at"),
    _long("last_seen_at"),
    _text("status"),
    _integer("stage"),
    _text("finding"),
    _text("action"),
    _text("identity"),
    _text("build", is_nullable=True),
    _text("build_name", is_nullable=True),
    _text("exchange_server", is_nullable=True),
    _long("first_seen_at"),
    _integer("next_throttle_minutes", is_nullable=True),
    _integer("next_block_minutes", is_nullable=True),
    _text("remedy_name", is_nullable=True),
    _text("remedy_kb", is_nullable=True),
    _long("connections"),
    _long("accepted"),
    _long("deferred"),
    _long("rejected"),
    _long("paused_until", is_nullable=True),
    _long("exempt_until", is_nullable=True),
    _long("override_until", is_nullable=True),
    _text("reason"),
    _text("policy_id"),
    _integer("policy_version"),
    _integer("verdict_revision"),
    _long("reported_at"),
    _long("high_at"),
    _long("high_accepted"),
    _long("high_deferred"),
    _long("high_rejected"),
    _long("since"),
    _long("delayed_at", is_nullable=True),
    _long("blocked_at", is_nullable=True),
    *_source(),
    _text("detail"),
)
"""One row a server, as its last report has it. `next_at` is NEVER where no stage is to come; `high_...` and `since` are
those of `model.servers.ServerFacts`; `delayed_at` and `blocked_at` those of `model.ahead.first_stages`. A row that was
carried over and not read again has the offset -1."""
SERVER_INTERVAL: Final = Table(
    "server_interval",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("server", is_key=True),
    _long("begins_at", is_key=True),
    _long("ends_at"),
    _text("status"),
    _integer("stage"),
    _text("finding"),
    _text("build", is_nullable=True),
    _text("reason"),
    _text("policy_id"),
    _integer("policy_version"),
    _integer("verdict_revision"),
)
"""What held about a server from when to when; what holds now is in its row in `server`."""
SERVER_FORGOTTEN: Final = Table(
    "server_forgotten",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("server", is_key=True),
    _long("forgotten_at"),
    _long("high_at"),
    _long("high_accepted"),
    _long("high_deferred"),
    _long("high_rejected"),
)
"""What history knows of a server that was forgotten, until it says something later; see `model.servers.Forgotten`."""
SERVER_DAY: Final = Table(
    "server_day",
    METADATA,
    _text("tenant_id", is_key=True),
    _integer("day", is_key=True),
    _text("status", is_key=True),
    _integer("stage", is_key=True),
    _long("change"),
    _long("accepted"),
    _long("delayed"),
    _long("refused"),
)
"""By how many the servers of a status and stage grew on a day, so their number is the sum up to it; and connections."""
TENANT_COUNT: Final = Table(
    "tenant_count",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("status", is_key=True),
    _long("n"),
)
"""How many servers of a tenant have a status now."""
TENANT_VERSION: Final = Table("tenant_version", METADATA, _text("tenant_id", is_key=True), _long("n"))
"""How often what is shown of a tenant may have changed, by a record or by its history: it is the same while this is."""
VERDICT: Final = Table(
    "verdict",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("server", is_key=True),
    _integer("revision"),
    _text("action"),
    _integer("stage"),
    _integer("throttle_minutes"),
    _integer("block_minutes"),
    _long("effective_at"),
    *_source(),
    _text("detail"),
)
"""The verdict in force about a server."""
NOTIFICATION: Final = Table(
    "notification",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("notification_id", is_key=True),
    _long("occurred_at"),
    _text("kind"),
    _text("severity"),
    _text("server", is_nullable=True),
    *_source(),
    _text("detail"),
)
"""What a tenant was told."""
AUDIT: Final = Table(
    "audit",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("audit_id", is_key=True),
    _text("command_id", is_nullable=True),
    _long("occurred_at"),
    _text("kind"),
    _text("outcome"),
    _text("issued_by"),
    *_source(),
    _text("detail"),
)
"""What became of commands and publications; those of publications have the tenant `*`."""
COMMAND: Final = Table(
    "command",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("command_id", is_key=True),
    _text("server", is_nullable=True),
    _long("occurred_at"),
    *_source(),
)
"""Which server a command was about, by the notification of it: its audit record does not say."""
CONSUMER_OFFSET: Final = Table(
    "consumer_offset",
    METADATA,
    _text("topic", is_key=True),
    _text("topic_id", is_key=True),
    _integer("partition", is_key=True),
    _long("position"),
)
"""The next offset to read; written in the transaction of the rows. `topic_id` names cluster and topic."""
UNREADABLE: Final = Table(
    "unreadable",
    METADATA,
    _text("topic", is_key=True),
    _integer("partition", is_key=True),
    _long("source_offset", is_key=True),
    _long("written_at"),
    _text("reason"),
)
"""Records that are none of their topic, and why; they stay on it."""
FACT: Final = Table("fact", METADATA, _text("name", is_key=True), _text("value"))
"""What holds for the whole model: when it was made, the key that signs cursors."""

OF_TENANTS: Final = (
    SERVER,
    SERVER_INTERVAL,
    SERVER_FORGOTTEN,
    SERVER_DAY,
    TENANT_COUNT,
    TENANT_VERSION,
    VERDICT,
    NOTIFICATION,
    AUDIT,
    COMMAND,
)
"""The tables with rows of tenants: where the database can, it shows a transaction only those of its own."""
