"""The report's application for tests: callers by their tokens, an engine and policies that are told what to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import NotAuthorizedException
from litestar.middleware import AbstractAuthenticationMiddleware, AuthenticationResult

from streams.database.database import Database
from streams.report.access.callers import AccessRole, Caller
from streams.report.api.router import api_router
from streams.report.web.application import make_application
from streams.report.web.coming import AnnouncedPolicy, ComingPort, Hit
from streams.report.web.commands import CommandsUnavailableError, Outcome, OutcomeKind
from streams.report.web.ledger import Ledger
from streams.report.web.read_model import ReadModel

FORMULA = "=cmd.example"
"""A server whose name a spreadsheet would calculate."""
CALLERS = {
    "reader": Caller("iss reader", "Rita Reader", AccessRole.TENANT_READER, "contoso"),
    "admin": Caller("iss admin", "Ada Admin", AccessRole.TENANT_ADMIN, "contoso"),
    "stranger": Caller("iss stranger", "Stan Stranger", AccessRole.TENANT_ADMIN, "fabrikam"),
    "operator": Caller("iss operator", "Olga Operator", AccessRole.OPERATOR, None),
}


REMEDY = ("Exchange Server 2016 CU23 Oct25SU", "KB5066369")


class KnownCallers(AbstractAuthenticationMiddleware):
    """Tells callers by the word in their bearer token."""

    async def authenticate_request(self, connection: ASGIConnection[Any, Any, Any, Any]) -> AuthenticationResult:
        caller = CALLERS.get(connection.headers.get("authorization", "").removeprefix("Bearer "))
        if caller is None:
            raise NotAuthorizedException("no caller of this test")
        return AuthenticationResult(caller, None)


class ToldEngine:
    """Takes commands and answers what it was told to."""

    def __init__(self) -> None:
        self.taken: list[tuple[Caller, str, dict[str, Any]]] = []
        self.answer = Outcome("", OutcomeKind.ACCEPTED, None, 76)
        self.is_away = False

    async def submit(self, caller: Caller, tenant: str, command: dict[str, Any]) -> Outcome:
        if self.is_away:
            raise CommandsUnavailableError("away")
        self.taken.append((caller, tenant, command))
        return self.answer._replace(command_id=command["command_id"] or "made-up")


class ToldPolicies:
    """One announced policy, which hits the servers that it was told to."""

    def __init__(self) -> None:
        self.hit: set[str] = set()

    def quota_days(self, now: int) -> int:
        return 90

    def announced(self, now: int) -> list[AnnouncedPolicy]:
        return [AnnouncedPolicy("strict/2", 4_000_000_000_000, 3_900_000_000_000, "ENFORCE")]

    def hits(self, reports: Sequence[dict[str, Any]], name: str, now: int) -> list[Hit]:
        if name != "strict/2":
            raise KeyError(name)
        return [
            Hit(
                one["server"],
                one["build"],
                "COMPLIANT",
                "OUT_OF_DATE",
                0,
                1,
                "ACCEPT",
                "ACCEPT",
                "It is behind.",
                *REMEDY,
            )
            for one in reports
            if one["server"] in self.hit
        ]


def application_of(
    database: Database, ledger: Database, engine: ToldEngine, policies: ComingPort, **options: Any
) -> Litestar:
    """The API over a database and a ledger of notices."""
    provided = {
        "read_model": ReadModel(database),
        "commands": engine,
        "coming": policies,
        "ledger": Ledger(ledger),
    }
    return make_application([api_router()], KnownCallers, provided, **options)


def bearer(name: str) -> dict[str, str]:
    """The headers of a caller."""
    return {"Authorization": f"Bearer {name}"}
