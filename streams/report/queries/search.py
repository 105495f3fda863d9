"""Finds servers by a part of their names.

In a small tenant the names are looked through. In a large one an index of trigrams says which names can match, if they
are few; if they are many, the first of them are found soon in any order. Either way the cost does not grow with what
other tenants have, so that nobody learns from it which names these have: the tenant is in the index.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, func, literal_column, select, text

from streams.database.database import ALL_TENANTS
from streams.database.upserts import SQLITE
from streams.domain.bounds import MAX_SERVER_CHARS
from streams.report.store.tables import SERVER, TENANT_COUNT

LARGE: Final = 5_000
"""Servers of a tenant from which on an index is asked."""
MOST_FOUND: Final = 500
"""Names that are few."""
_TRIGRAM: Final = 3
_NO_CHARACTERS: Final = ("Cc", "Cs")
_TOKEN_FIRST, _TOKEN_BASE = 0xE000, 6400
"""Of the characters that stand for a tenant in SQLite's index: Unicode's private ones."""


def check_search(part: str) -> None:
    """Refuse what no name has, and no database takes.

    Raises:
        ValueError: it is too long, or has a control character or half a surrogate pair; the message says so.
    """
    if len(part) > MAX_SERVER_CHARS:
        raise ValueError(f"search: {part[:80]!r:.100}…: must be at most {MAX_SERVER_CHARS} characters")
    if any(unicodedata.category(character) in _NO_CHARACTERS for character in part):
        raise ValueError(f"search: {part[:80]!r:.100}: must have no control characters or surrogates")


def few_matches(connection: Connection, tenant: str, part: str) -> Sequence[tuple[str, str]] | None:
    """The keys of servers whose names contain a part, in whatever case; None where they are many, or are soon found."""
    part = part.lower()
    if len(part) < _TRIGRAM or not _is_large(connection, tenant):
        return None
    found = _found(connection, tenant, part)
    return None if len(found) > MOST_FOUND else found


def contains(connection: Connection, part: str) -> ColumnElement[bool]:
    """The condition for servers whose names contain a part, in whatever case; for parts that many names have.

    PostgreSQL takes LIKE for something that few names have, and sorts all servers to find the first of them. Of this
    it expects a third, and reads them in order until there are enough.
    """
    place_in = func.instr if connection.dialect.name == SQLITE else func.strpos
    return place_in(SERVER.c.server, part.lower()) > literal_column("0")


def _is_large(connection: Connection, tenant: str) -> bool:
    if tenant == ALL_TENANTS:
        return True
    servers = select(func.sum(TENANT_COUNT.c.n)).where(TENANT_COUNT.c.tenant_id == tenant)
    return (connection.execute(servers).scalar() or 0) >= LARGE


def _found(connection: Connection, tenant: str, part: str) -> Sequence[tuple[str, str]]:
    """Servers whose names contain a part; one more than `MOST_FOUND` where there are many."""
    if connection.dialect.name == SQLITE:
        wanted = {part[at : at + _TRIGRAM] for at in range(len(part) - _TRIGRAM + 1)}
        if tenant != ALL_TENANTS:
            wanted.add(_token(connection, tenant))
        query = " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in sorted(wanted))
        statement = (
            "SELECT f.tenant_id, f.server FROM server_search i CROSS JOIN server f "
            "ON f.id = i.rowid WHERE i.server_search MATCH :query AND instr(f.server, :part) > 0"
        )
        values = {"query": query, "part": part}
    else:
        # The fence of these names has what is searched: see the migration that made it.
        pattern = "%" + part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        connection.execute(text("SELECT set_config('app.search', :pattern, true)"), {"pattern": pattern})
        statement, values = "SELECT f.tenant_id, f.server FROM server_search f WHERE true", {}
    if tenant != ALL_TENANTS:
        statement += " AND f.tenant_id = :tenant"
        values["tenant"] = tenant
    rows = connection.execute(text(f"{statement} LIMIT {MOST_FOUND + 1}"), values)
    return [(row.tenant_id, row.server) for row in rows]


def _token(connection: Connection, tenant: str) -> str:
    """What stands for a tenant in SQLite's index of trigrams; a tenant without servers has 0, which is nobody's."""
    asked = connection.execute(text("SELECT id FROM tenant_number WHERE tenant_id = :tenant"), {"tenant": tenant})
    number = asked.scalar() or 0
    return "".join(chr(_TOKEN_FIRST + number // _TOKEN_BASE**power % _TOKEN_BASE) for power in (2, 1, 0))
