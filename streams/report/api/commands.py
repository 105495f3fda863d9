"""Commands: a pause, an exception, an override; answered when the engine has accepted or refused them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import HeaderParameter, JSONBody, PathParameter
from msgspec import Meta, Struct

from streams.domain.tenant.commands import PUBLICATIONS, CommandKind
from streams.report.access.callers import require_admin
from streams.report.api.parameters import Asked, Tenant
from streams.report.api.shapes import Outcome
from streams.report.queries.messages import outcome_of
from streams.report.web.commands import CommandPort, CommandsUnavailableError, OutcomeKind, outcome_told
from streams.report.web.problems import (
    PROBLEMS,
    RETRY_SECONDS,
    Problem,
    ProblemDetails,
    checked_by_query,
    not_found,
)
from streams.report.web.read_model import ReadModel
from streams.report.web.tenants import one_tenant_of
from streams.wire.records import parse_day_or_moment

_KINDS = frozenset(CommandKind) - PUBLICATIONS - {CommandKind.UNKNOWN}
MOST_ID_CHARS = 255

Text = Annotated[str, Meta(min_length=1, max_length=1_000)]
CommandId = Annotated[str, PathParameter(min_length=1, max_length=MOST_ID_CHARS, description="The command's id.")]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=MOST_ID_CHARS,
        pattern=r"^[A-Za-z0-9._:-]+$",
        description="The command's id: sent again with it, a command takes effect once and has the same answer.",
    ),
]


class Command(Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for; `docs/concepts/commands.md` says which kind needs which fields.

    `days` are of 24 hours; `expires_at` is a day (its first moment in UTC) or an ISO 8601 moment.
    """

    kind: CommandKind
    server: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    days: Annotated[int, Meta(ge=1, le=366)] | None = None
    owner: Text | None = None
    reason: Text | None = None
    build: Annotated[str, Meta(min_length=1, max_length=50)] | None = None
    expires_at: Annotated[str, Meta(min_length=1, max_length=40)] | None = None


class Refusal(ProblemDetails, frozen=True):
    """Why the engine refuses a command."""

    command_id: str
    outcome: str
    quota_left_days: int | None


class Commands(Controller):
    """Commands to the engine."""

    path = "/commands"
    tags = ("commands",)

    @post(
        "/",
        guards=[require_admin],
        status_code=HTTPStatus.OK,
        responses={
            **PROBLEMS,
            202: ResponseSpec(Outcome, description="No worker has answered yet; Location names where to ask again."),
            409: ResponseSpec(
                dict[str, Any], description="The engine refuses it, and says why.", generate_examples=False
            ),
        },
    )
    async def submit_command(
        self,
        request: Asked,
        commands: NamedDependency[CommandPort],
        data: JSONBody[Command],
        idempotency_key: IdempotencyKey = None,
        tenant: Tenant = None,
    ) -> Response[Outcome]:
        """Give a command, and wait for what the engine says."""
        whose = one_tenant_of(request.user, tenant)
        if data.kind not in _KINDS:
            raise Problem(
                HTTPStatus.BAD_REQUEST, f"kind: {data.kind.value!r}: must be one of {', '.join(sorted(_KINDS))}"
            )
        with checked_by_query():
            asked = {name: getattr(data, name) for name in ("server", "days", "owner", "reason", "build")}
            ends = None if data.expires_at is None else parse_day_or_moment("expires_at", data.expires_at)
            try:
                found = await commands.submit(
                    request.user,
                    whose,
                    {"kind": data.kind.value, "command_id": idempotency_key, "expires_at": ends, **asked},
                )
            except CommandsUnavailableError:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "commands are not taken now; try again with the same Idempotency-Key",
                    {"Retry-After": str(RETRY_SECONDS)},
                ) from None
        outcome = Outcome(*found)
        if found.kind is OutcomeKind.REFUSED:
            raise Problem(
                HTTPStatus.CONFLICT,
                found.reason or "the engine refuses it",
                command_id=found.command_id,
                outcome=found.kind.value,
                quota_left_days=found.quota_left_days,
            )
        if found.kind is OutcomeKind.PENDING:
            headers = {"Location": f"/v1/commands/{found.command_id}"}
            return Response(outcome, status_code=HTTPStatus.ACCEPTED, headers=headers)
        return Response(outcome)

    @get("/{command_id:str}", responses=PROBLEMS)
    async def show_outcome(
        self,
        request: Asked,
        read_model: NamedDependency[ReadModel],
        command_id: CommandId,
        tenant: Tenant = None,
    ) -> Outcome:
        """Say what became of a command; of one that nobody has answered as of one that was never given: 404."""
        whose = one_tenant_of(request.user, tenant)
        found = await read_model.ask(whose, lambda connection: outcome_of(connection, whose, command_id))
        if found is None:
            raise not_found("command", command_id)
        return Outcome(*outcome_told(command_id, found.record))
