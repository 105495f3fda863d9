"""Subscriptions: the form that makes or changes one, and the question whether one is to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy import Connection

from streams.domain.outputs.notification import Severity
from streams.notices.checks import check_subscription
from streams.notices.destinations import list_destinations
from streams.notices.model import Destination, Digest, Subscription
from streams.notices.subscriptions import change_subscription, create_subscription, remove_subscription
from streams.report.access.callers import require_admin
from streams.report.page.asking import read_form, see_other
from streams.report.page.done import Done
from streams.report.page.notice_forms import (
    KINDS,
    Form,
    fault_of,
    form_of_subscription,
    one_of,
    read_lists,
    wanted_subscription,
)
from streams.report.page.visits import PageRequest, Visit
from streams.report.web.notice_changes import Action, change_notices
from streams.report.web.notices import checked_by_ledger, find_destination, find_subscription, owner_for
from streams.report.web.problems import Problem

ACTIONS: Final = ("change", "end")


@get("/notices/subscriptions/new", include_in_schema=False, guards=[require_admin])
async def show_subscription_form(
    visit: NamedDependency[Visit], destination: FromQuery[str | None] = None
) -> Response[str]:
    """The form that makes a subscription."""
    empty = Subscription(owner_for(visit.tenant).tenant, "", destination or "")
    return await _form_page(visit, None, empty.destination_id, form_of_subscription(empty), (), {})


@post("/notices/subscriptions", include_in_schema=False, guards=[require_admin], status_code=HTTPStatus.OK)
async def make_subscription(visit: NamedDependency[Visit], request: PageRequest) -> Response[Any]:
    """Subscribe a destination from now on."""
    form, kinds, owner = await read_form(request), await read_lists(request, KINDS), owner_for(visit.tenant)
    to = form.get("destination", "")
    wanted, faults = wanted_subscription(visit.language, form, kinds, Subscription(owner.tenant, "", to))

    def create(connection: Connection) -> Subscription:
        find_destination(connection, owner.tenant, to)
        return create_subscription(connection, wanted, visit.now, visit.caller.name)

    faults = faults or _faults(visit, wanted)
    if faults:
        return await _form_page(visit, None, to, form, kinds, faults)
    with checked_by_ledger():
        await change_notices(visit.ports.ledger, visit.caller, owner, Action.SUBSCRIPTION_ADDED, create)
    return see_other(visit.path("/notices", done=Done.SUBSCRIBED))


@get("/notices/subscriptions/{subscription_id:str}", include_in_schema=False, guards=[require_admin])
async def show_one_subscription(visit: NamedDependency[Visit], subscription_id: FromPath[str]) -> Response[str]:
    """The form that changes a subscription."""
    found = await _find(visit, subscription_id)
    return await _form_page(
        visit, subscription_id, found.destination_id, form_of_subscription(found), found.kinds or (), {}
    )


@post(
    "/notices/subscriptions/{subscription_id:str}",
    include_in_schema=False,
    guards=[require_admin],
    status_code=HTTPStatus.OK,
)
async def act_on_subscription(
    visit: NamedDependency[Visit], request: PageRequest, subscription_id: FromPath[str]
) -> Response[Any]:
    """Change a subscription, or end it."""
    form, kinds, owner = await read_form(request), await read_lists(request, KINDS), owner_for(visit.tenant)
    found = await _find(visit, subscription_id)
    change = partial(change_notices, visit.ports.ledger, visit.caller, owner, subscription=subscription_id)
    if one_of(form, "action", ACTIONS) == "end":
        with checked_by_ledger():
            await change(
                Action.SUBSCRIPTION_ENDED,
                lambda connection: remove_subscription(connection, owner.tenant, subscription_id),
            )
        return see_other(visit.path("/notices", done=Done.ENDED))
    wanted, faults = wanted_subscription(visit.language, form, kinds, found)
    faults = faults or _faults(visit, wanted)
    if faults:
        return await _form_page(visit, subscription_id, found.destination_id, form, kinds, faults)
    with checked_by_ledger():
        await change(Action.SUBSCRIPTION_CHANGED, lambda connection: change_subscription(connection, wanted))
    return see_other(visit.path("/notices", done=Done.SUBSCRIPTION_CHANGED))


@get("/notices/subscriptions/{subscription_id:str}/end", include_in_schema=False, guards=[require_admin])
async def show_subscription_end(visit: NamedDependency[Visit], subscription_id: FromPath[str]) -> Response[str]:
    """The question whether a subscription is to end."""
    found = await _find(visit, subscription_id)
    owner = owner_for(visit.tenant)
    destination = await visit.ports.ledger.ask(
        owner.fence, lambda connection: find_destination(connection, owner.tenant, found.destination_id)
    )
    return visit.page("subscription_end.html", subscription=found, destination=destination)


async def _find(visit: Visit, subscription_id: str) -> Subscription:
    owner = owner_for(visit.tenant)
    return await visit.ports.ledger.ask(
        owner.fence, lambda connection: find_subscription(connection, owner.tenant, subscription_id)
    )


def _faults(visit: Visit, wanted: Subscription) -> dict[str, str]:
    """What is wrong with a subscription, by the fields of the form.

    Raises:
        Problem: it is wrong with what is no field that somebody fills in.
    """
    try:
        check_subscription(wanted)
    except ValueError as error:
        try:
            return fault_of(visit.language, error)
        except ValueError:
            raise Problem(HTTPStatus.BAD_REQUEST, str(error)) from None
    return {}


async def _form_page(
    visit: Visit,
    subscription_id: str | None,
    destination_id: str,
    form: Form,
    kinds: Sequence[str],
    faults: Mapping[str, str],
) -> Response[str]:
    owner = owner_for(visit.tenant)
    destinations: list[Destination] = await visit.ports.ledger.ask(
        owner.fence, lambda connection: list_destinations(connection, owner.tenant)
    )
    return visit.page(
        "subscription_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        subscription_id=subscription_id,
        destination_id=destination_id,
        destinations=destinations,
        form=form,
        kinds=kinds,
        faults=faults,
        severities=list(Severity),
        digests=list(Digest),
    )
