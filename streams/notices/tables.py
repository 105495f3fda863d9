"""The tables of the ledger, as statements name them; `migrations` makes them.

Moments are UTC milliseconds, times of a day minutes. Every key has the tenant first: of a delivery, a message and an
attempt it is the destination's owner, so that of operators' destinations no tenant sees anything.
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


DESTINATION: Final = Table(
    "destination",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("destination_id", is_key=True),
    _text("kind"),
    _text("name"),
    _text("address"),
    _text("origin"),
    _text("state"),
    _text("secret"),
    _text("former_secret"),
    _long("former_secret_until", is_nullable=True),
    _text("language"),
    _text("zone"),
    _long("created_at"),
    _text("created_by"),
    _long("confirmed_at", is_nullable=True),
    _long("parked_at", is_nullable=True),
    _text("parked_why", is_nullable=True),
    _text("challenge"),
    _long("challenge_until"),
    _text("address_key", is_nullable=True),
)
"""See `model.Destination`. `address_key` stands for kind and address, so that a tenant has each once; removed ones and
connectors' contacts have none. `challenge` is what the token that confirms it is made of, good until `challenge_until`.
"""
SUBSCRIPTION: Final = Table(
    "subscription",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("subscription_id", is_key=True),
    _text("destination_id"),
    _text("kinds", is_nullable=True),
    _text("least_severity"),
    _text("servers", is_nullable=True),
    _text("digest"),
    _integer("daily_at"),
    _integer("quiet_from", is_nullable=True),
    _integer("quiet_to", is_nullable=True),
    _integer("is_quiet_for_critical"),
    _long("created_at"),
    _text("created_by"),
)
"""See `model.Subscription`. `kinds` are joined by commas."""
LANE: Final = Table(
    "lane",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("destination_id", is_key=True),
    _text("kind"),
    _long("due_at"),
    _long("grouping_since", is_nullable=True),
    _integer("grouped"),
    _text("lease_owner", is_nullable=True),
    _long("lease_until"),
    _long("fence"),
    _integer("failures"),
    _long("failing_since", is_nullable=True),
)
"""The row of each destination that changes often. Whoever sends takes a lane, so a slow destination delays only itself.

`due_at` is when to look for what is to be sent, `NEVER` where nothing is. `grouping_since` is when the first of
`grouped` notices came that wait to be sent together or one by one. `fence` grows with every claim.
"""
NOTICE: Final = Table(
    "notice",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("notification_id", is_key=True),
    _text("kind"),
    _text("severity"),
    _text("server", is_nullable=True),
    _integer("stage", is_nullable=True),
    _long("occurred_at"),
    _long("written_at"),
    _integer("deliveries"),
    _integer("partition"),
    _long("source_offset"),
    _text("detail"),
)
"""A notification that was read; `deliveries` says to how many destinations it was routed, `detail` is its record."""
DELIVERY: Final = Table(
    "delivery",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("destination_id", is_key=True),
    _text("notification_id", is_key=True),
    _text("notice_tenant"),
    _text("subscription_id"),
    _text("state"),
    _text("severity"),
    _integer("is_together"),
    _long("routed_at"),
    _long("due_at"),
    _text("message_id", is_nullable=True),
    _long("ended_at", is_nullable=True),
    _text("why", is_nullable=True),
)
"""What became of a notice at a destination. `is_together` says that it goes with all others that are due then."""
MESSAGE: Final = Table(
    "message",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("message_id", is_key=True),
    _text("destination_id"),
    _text("form"),
    _text("state"),
    _integer("notices"),
    _long("made_at"),
    _integer("attempts"),
    _long("next_attempt_at"),
    _integer("last_code", is_nullable=True),
    _text("last_outcome", is_nullable=True),
    _text("last_why", is_nullable=True),
    _long("ended_at", is_nullable=True),
)
"""What was sent, or will be. Its id is that of the message outside: whatever is sent again is the same one."""
ATTEMPT: Final = Table(
    "attempt",
    METADATA,
    _text("tenant_id", is_key=True),
    _text("message_id", is_key=True),
    _integer("number", is_key=True),
    _long("at", is_key=True),
    _long("ended_at"),
    _text("outcome"),
    _integer("code", is_nullable=True),
    _text("why"),
)
"""What the other side answered each time."""
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
"""What holds for the whole ledger: when it began, the key of links."""

OF_TENANTS: Final = (DESTINATION, SUBSCRIPTION, LANE, NOTICE, DELIVERY, MESSAGE, ATTEMPT)
"""The tables with rows of tenants: where the database can, it shows a transaction only those of its own."""
