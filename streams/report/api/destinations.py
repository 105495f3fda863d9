"""Where notices are sent: destinations, how they are tested, and what became of messages to them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from litestar import Controller, Response, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET
from sqlalchemy import Connection

from streams.clock import wall_clock_ms
from streams.notices import model
from streams.notices.destinations import list_destinations
from streams.notices.history import attempts_of
from streams.notices.messages import change_destination, find_message, latest_tried
from streams.report.access.callers import require_admin
from streams.report.api.notice_shapes import (
    Destination,
    DestinationChange,
    Destinations,
    DestinationWithSecret,
    MessageInFull,
    NewDestination,
    TestRequested,
    attempt_of,
    destination_of,
    message_of,
)
from streams.report.api.parameters import Asked, OwnerTenant
from streams.report.web import notices
from streams.report.web.ledger import Ledger
from streams.report.web.notice_changes import Action, change_notices
from streams.report.web.notices import (
    MOST_ID_CHARS,
    add_destination,
    ask_to_confirm,
    checked_by_ledger,
    end_destination,
    find_destination,
    owner_of,
    renew_secret,
    send_test_to,
    unpark_destination,
)
from streams.report.web.problems import CONFLICT, PROBLEMS, not_found

DestinationId = Annotated[
    str, PathParameter(min_length=1, max_length=MOST_ID_CHARS, description="The destination's id.")
]
MessageId = Annotated[str, PathParameter(min_length=1, max_length=MOST_ID_CHARS, description="The message's id.")]


class DestinationsOfTenant(Controller):
    """Destinations."""

    path = "/destinations"
    tags = ("notices",)

    @get("/", responses=PROBLEMS)
    async def list_destinations(
        self, request: Asked, ledger: NamedDependency[Ledger], tenant: OwnerTenant = None
    ) -> Destinations:
        """List destinations, oldest first, each with the message that was tried last."""
        owner = owner_of(request.user, tenant)
        found, last = await ledger.ask(
            owner.fence,
            lambda connection: (list_destinations(connection, owner.tenant), latest_tried(connection, owner.tenant)),
        )
        return Destinations([destination_of(one, last.get(one.destination_id)) for one in found])

    @post("/", guards=[require_admin], responses={**PROBLEMS, **CONFLICT})
    async def create_destination(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        data: JSONBody[NewDestination],
        tenant: OwnerTenant = None,
    ) -> Response[DestinationWithSecret]:
        """Make a destination, and ask whether it wants to be told; nothing else is sent before it says so."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()
        wanted = notices.NewDestination(data.kind, data.name, data.address, data.language, data.zone)
        with checked_by_ledger():
            made = await change_notices(
                ledger,
                request.user,
                owner,
                Action.DESTINATION_ADDED,
                lambda connection: add_destination(connection, owner.tenant, wanted, now, request.user.name),
            )
        headers = {"Location": f"/v1/destinations/{made.destination_id}"}
        return Response(DestinationWithSecret(destination_of(made), made.secret or None), headers=headers)

    @get("/{destination_id:str}", responses=PROBLEMS)
    async def show_destination(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> Destination:
        """Show one destination."""
        owner = owner_of(request.user, tenant)
        found, last = await ledger.ask(
            owner.fence,
            lambda connection: (
                find_destination(connection, owner.tenant, destination_id),
                latest_tried(connection, owner.tenant),
            ),
        )
        return destination_of(found, last.get(destination_id))

    @patch("/{destination_id:str}", guards=[require_admin], responses=PROBLEMS)
    async def change_destination(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        data: JSONBody[DestinationChange],
        tenant: OwnerTenant = None,
    ) -> Destination:
        """Change a destination's name, language and time zone."""
        owner = owner_of(request.user, tenant)
        given = {"name": data.name, "language": data.language, "zone": data.zone}
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not UNSET}

        def change(connection: Connection) -> model.Destination:
            found = find_destination(connection, owner.tenant, destination_id)
            return change_destination(connection, found._replace(**changes))

        with checked_by_ledger():
            return destination_of(await change_notices(ledger, request.user, owner, Action.DESTINATION_CHANGED, change))

    @delete("/{destination_id:str}", guards=[require_admin], responses=PROBLEMS)
    async def remove_destination(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> None:
        """Send nothing to a destination any more, for good; its subscriptions go, its history stays."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()

        why = f"removed by {request.user.name}"
        await change_notices(
            ledger,
            request.user,
            owner,
            Action.DESTINATION_REMOVED,
            lambda connection: end_destination(connection, owner.tenant, destination_id, why, now),
            destination=destination_id,
        )

    @post("/{destination_id:str}/secret", guards=[require_admin], responses={**PROBLEMS, **CONFLICT})
    async def rotate_secret(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> DestinationWithSecret:
        """Give a webhook a new secret; the former one signs as well for a day."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()
        changed = await change_notices(
            ledger,
            request.user,
            owner,
            Action.SECRET_RENEWED,
            lambda connection: renew_secret(connection, owner.tenant, destination_id, now),
        )
        return DestinationWithSecret(destination_of(changed), changed.secret)

    @post(
        "/{destination_id:str}/unpark",
        guards=[require_admin],
        status_code=HTTPStatus.OK,
        responses=PROBLEMS,
    )
    async def unpark_destination(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> Destination:
        """Use a parked destination again: what waits for it goes at once and together."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()

        changed = await change_notices(
            ledger,
            request.user,
            owner,
            Action.DESTINATION_UNPARKED,
            lambda connection: unpark_destination(connection, owner.tenant, destination_id, now),
        )
        return destination_of(changed)

    @post(
        "/{destination_id:str}/confirmation",
        guards=[require_admin],
        status_code=HTTPStatus.ACCEPTED,
        responses={**PROBLEMS, **CONFLICT},
    )
    async def ask_again(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> Destination:
        """Ask an unconfirmed destination once more whether it wants to be told; the former question is void."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()
        with checked_by_ledger():
            asked = await change_notices(
                ledger,
                request.user,
                owner,
                Action.DESTINATION_ASKED,
                lambda connection: ask_to_confirm(connection, owner.tenant, destination_id, now),
            )
        return destination_of(asked)

    @post(
        "/{destination_id:str}/test",
        guards=[require_admin],
        status_code=HTTPStatus.ACCEPTED,
        responses={**PROBLEMS, **CONFLICT},
    )
    async def send_test(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        tenant: OwnerTenant = None,
    ) -> Response[TestRequested]:
        """Have a test sent to a destination; Location names where its outcome is shown."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()
        with checked_by_ledger():
            message_id = await change_notices(
                ledger,
                request.user,
                owner,
                Action.DESTINATION_TESTED,
                lambda connection: send_test_to(connection, owner.tenant, destination_id, now),
                destination=destination_id,
            )
        headers = {"Location": f"/v1/destinations/{destination_id}/messages/{message_id}"}
        return Response(TestRequested(message_id), status_code=HTTPStatus.ACCEPTED, headers=headers)

    @get("/{destination_id:str}/messages/{message_id:str}", responses=PROBLEMS)
    async def show_message(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        destination_id: DestinationId,
        message_id: MessageId,
        tenant: OwnerTenant = None,
    ) -> MessageInFull:
        """Show what became of a message, and each attempt with what the other side answered."""
        owner = owner_of(request.user, tenant)
        found, attempts = await ledger.ask(
            owner.fence,
            lambda connection: (
                find_message(connection, owner.tenant, destination_id, message_id),
                attempts_of(connection, owner.tenant, message_id),
            ),
        )
        if found is None:
            raise not_found("message", message_id)
        return MessageInFull(message_of(found), [attempt_of(one) for one in attempts])
