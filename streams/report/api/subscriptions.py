"""What destinations are told, and when; and what became of notices."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import JSONBody, PathParameter, QueryParameter
from msgspec import structs
from sqlalchemy import Connection

from streams.clock import wall_clock_ms
from streams.notices import model
from streams.notices.subscriptions import (
    change_subscription,
    create_subscription,
    list_subscriptions,
    remove_subscription,
)
from streams.report.access.callers import require_admin
from streams.report.api.notice_shapes import (
    Delivery,
    NewSubscription,
    Subscription,
    SubscriptionFields,
    Subscriptions,
    delivery_of,
    subscription_of,
)
from streams.report.api.parameters import Asked, Cursor, Limit, OwnerTenant, Tenant
from streams.report.api.shapes import Page
from streams.report.web.ledger import Ledger
from streams.report.web.notice_changes import Action, change_notices
from streams.report.web.notices import (
    MOST_ID_CHARS,
    checked_by_ledger,
    find_destination,
    find_subscription,
    list_deliveries,
    owner_of,
)
from streams.report.web.problems import CONFLICT, PROBLEMS
from streams.report.web.tenants import tenant_of

SubscriptionId = Annotated[
    str, PathParameter(min_length=1, max_length=MOST_ID_CHARS, description="The subscription's id.")
]


class SubscriptionsOfTenant(Controller):
    """Subscriptions."""

    path = "/subscriptions"
    tags = ("notices",)

    @get("/", responses=PROBLEMS)
    async def list_subscriptions(
        self, request: Asked, ledger: NamedDependency[Ledger], tenant: OwnerTenant = None
    ) -> Subscriptions:
        """List subscriptions, oldest first; a tenant that has none is told by the contacts of its connectors."""
        owner = owner_of(request.user, tenant)
        found = await ledger.ask(owner.fence, lambda connection: list_subscriptions(connection, owner.tenant))
        return Subscriptions([subscription_of(one) for one in found])

    @post("/", guards=[require_admin], responses={**PROBLEMS, **CONFLICT})
    async def create_subscription(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        data: JSONBody[NewSubscription],
        tenant: OwnerTenant = None,
    ) -> Response[Subscription]:
        """Subscribe a destination from now on."""
        owner, now = owner_of(request.user, tenant), wall_clock_ms()

        def create(connection: Connection) -> model.Subscription:
            found = find_destination(connection, owner.tenant, data.destination_id)
            wanted = model.Subscription(owner.tenant, "", found.destination_id, **_fields_of(data))
            return create_subscription(connection, wanted, now, request.user.name)

        with checked_by_ledger():
            made = await change_notices(ledger, request.user, owner, Action.SUBSCRIPTION_ADDED, create)
        return Response(subscription_of(made), headers={"Location": f"/v1/subscriptions/{made.subscription_id}"})

    @get("/{subscription_id:str}", responses=PROBLEMS)
    async def show_subscription(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        subscription_id: SubscriptionId,
        tenant: OwnerTenant = None,
    ) -> Subscription:
        """Show one subscription."""
        owner = owner_of(request.user, tenant)
        found = await ledger.ask(
            owner.fence, lambda connection: find_subscription(connection, owner.tenant, subscription_id)
        )
        return subscription_of(found)

    @put("/{subscription_id:str}", guards=[require_admin], responses=PROBLEMS)
    async def change_subscription(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        subscription_id: SubscriptionId,
        data: JSONBody[SubscriptionFields],
        tenant: OwnerTenant = None,
    ) -> Subscription:
        """Change what a destination is told, and when; a field that is missing gets its default."""
        owner = owner_of(request.user, tenant)

        def change(connection: Connection) -> model.Subscription:
            found = find_subscription(connection, owner.tenant, subscription_id)
            return change_subscription(connection, found._replace(**_fields_of(data)))

        with checked_by_ledger():
            return subscription_of(
                await change_notices(ledger, request.user, owner, Action.SUBSCRIPTION_CHANGED, change)
            )

    @delete("/{subscription_id:str}", guards=[require_admin], responses=PROBLEMS)
    async def remove_subscription(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        subscription_id: SubscriptionId,
        tenant: OwnerTenant = None,
    ) -> None:
        """End a subscription; what was routed by it goes."""
        owner = owner_of(request.user, tenant)

        def remove(connection: Connection) -> None:
            find_subscription(connection, owner.tenant, subscription_id)
            remove_subscription(connection, owner.tenant, subscription_id)

        await change_notices(
            ledger, request.user, owner, Action.SUBSCRIPTION_ENDED, remove, subscription=subscription_id
        )


class Deliveries(Controller):
    """What became of notices."""

    path = "/deliveries"
    tags = ("notices",)

    @get("/", responses=PROBLEMS)
    async def list_deliveries(
        self,
        request: Asked,
        ledger: NamedDependency[Ledger],
        tenant: Tenant = None,
        notification_id: Annotated[
            str | None, QueryParameter(max_length=MOST_ID_CHARS, description="Only of this notice.")
        ] = None,
        destination_id: Annotated[
            str | None, QueryParameter(max_length=MOST_ID_CHARS, description="Only at this destination.")
        ] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[Delivery]:
        """List what became of notices at destinations, newest first."""
        whose = tenant_of(request.user, tenant)
        with checked_by_ledger():
            page = await ledger.ask(
                whose,
                lambda connection: list_deliveries(
                    connection,
                    whose,
                    notification_id=notification_id,
                    destination_id=destination_id,
                    limit=limit,
                    cursor=cursor,
                ),
            )
        return Page([delivery_of(one) for one in page.rows], page.cursor)


def _fields_of(data: SubscriptionFields) -> dict[str, Any]:
    """The fields of a subscription that a request gives."""
    given = structs.asdict(data)
    given.pop("destination_id", None)
    kinds = given["kinds"]
    return {
        **given,
        "kinds": None if kinds is None else tuple(str(kind) for kind in kinds),
        "least_severity": str(data.least_severity),
    }
