"""Destinations: the form that makes one, its page, and what is done about it by a button."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Any, Final
from zoneinfo import available_timezones

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy import Connection

from streams.notices.history import attempts_of
from streams.notices.messages import change_destination, find_message, latest_tried
from streams.notices.model import Destination, DestinationKind, kinds_of
from streams.notices.paths import destination_path
from streams.notices.subscriptions import list_subscriptions
from streams.report.access.callers import require_admin
from streams.report.page.asking import read_form, see_other
from streams.report.page.done import Done, done_sentence
from streams.report.page.notice_forms import Form, fault_of, new_destination, one_of
from streams.report.page.visits import PageRequest, Visit
from streams.report.web.notice_changes import Action, change_notices
from streams.report.web.notices import (
    add_destination,
    ask_to_confirm,
    checked_by_ledger,
    end_destination,
    find_destination,
    known_destination,
    list_deliveries,
    owner_for,
    renew_secret,
    send_test_to,
    unpark_destination,
)
from streams.report.web.problems import Problem, not_found
from streams.texts.languages import NAMES

MOST_DELIVERIES: Final = 20
"""Of the first page of a destination's history."""
ACTIONS: Final = ("change", "ask", "unpark", "test", "secret", "remove")


@get("/notices/destinations/new", include_in_schema=False, guards=[require_admin])
async def show_destination_form(visit: NamedDependency[Visit]) -> Response[str]:
    """The form that makes a destination."""
    return _form_page(visit, {"kind": DestinationKind.MAIL, "language": visit.language.code, "zone": "UTC"}, {})


@post("/notices/destinations", include_in_schema=False, guards=[require_admin], status_code=HTTPStatus.OK)
async def make_destination(visit: NamedDependency[Visit], request: PageRequest) -> Response[Any]:
    """Make a destination; the secret of a webhook is shown then, and never again."""
    form, owner = await read_form(request), owner_for(visit.tenant)
    wanted = new_destination(form, owner.tenant)
    with checked_by_ledger():
        try:
            made = await change_notices(
                visit.ports.ledger,
                visit.caller,
                owner,
                Action.DESTINATION_ADDED,
                lambda connection: add_destination(connection, owner.tenant, wanted, visit.now, visit.caller.name),
            )
        except Problem as problem:
            if problem.status_code != HTTPStatus.CONFLICT:
                raise
            return _form_page(visit, form, {"address": visit.language.say("There is one with this address already.")})
        except ValueError as error:
            return _form_page(visit, form, fault_of(visit.language, error, wanted.kind))
    if made.secret:
        return visit.page("secret.html", destination=made, is_new=True)
    return see_other(visit.path(destination_path(made.destination_id), done=Done.MADE))


@get("/notices/destinations/{destination_id:str}", include_in_schema=False)
async def show_one_destination(
    visit: NamedDependency[Visit],
    destination_id: FromPath[str],
    done: FromQuery[str | None] = None,
    test: FromQuery[str | None] = None,
) -> Response[str]:
    """A destination: whether it is sent to, what it is told and when, what became of notices there."""
    return await _destination_page(visit, destination_id, {}, {}, done=done, test=test)


@post(
    "/notices/destinations/{destination_id:str}",
    include_in_schema=False,
    guards=[require_admin],
    status_code=HTTPStatus.OK,
)
async def act_on_destination(
    visit: NamedDependency[Visit], request: PageRequest, destination_id: FromPath[str]
) -> Response[Any]:
    """Do what a button of a destination says."""
    form = await read_form(request)
    action = one_of(form, "action", ACTIONS)
    owner, now, path = owner_for(visit.tenant), visit.now, destination_path(destination_id)
    key = (owner.tenant, destination_id)
    change = partial(change_notices, visit.ports.ledger, visit.caller, owner, destination=destination_id)
    with checked_by_ledger():
        match action:
            case "change":
                return await _change(visit, destination_id, form)
            case "ask":
                await change(Action.DESTINATION_ASKED, lambda connection: ask_to_confirm(connection, *key, now))
                return see_other(visit.path(path, done=Done.ASKED))
            case "test":
                sent = await change(Action.DESTINATION_TESTED, lambda connection: send_test_to(connection, *key, now))
                return see_other(visit.path(path, test=sent))
            case "secret":
                changed = await change(Action.SECRET_RENEWED, lambda connection: renew_secret(connection, *key, now))
                return visit.page("secret.html", destination=changed, is_new=False)
            case "unpark":
                await change(Action.DESTINATION_UNPARKED, lambda connection: unpark_destination(connection, *key, now))
                return see_other(visit.path(path, done=Done.UNPARKED))
            case _:
                why = f"removed by {visit.caller.name}"
                await change(Action.DESTINATION_REMOVED, lambda connection: end_destination(connection, *key, why, now))
                return see_other(visit.path("/notices", done=Done.REMOVED))


@get("/notices/destinations/{destination_id:str}/remove", include_in_schema=False, guards=[require_admin])
async def show_destination_removal(visit: NamedDependency[Visit], destination_id: FromPath[str]) -> Response[str]:
    """The question whether a destination is to be removed."""
    owner = owner_for(visit.tenant)
    found = await visit.ports.ledger.ask(
        owner.fence, lambda connection: find_destination(connection, owner.tenant, destination_id)
    )
    return visit.page("destination_removal.html", destination=found)


@get("/notices/destinations/{destination_id:str}/messages/{message_id:str}", include_in_schema=False)
async def show_message(
    visit: NamedDependency[Visit], destination_id: FromPath[str], message_id: FromPath[str]
) -> Response[str]:
    """A message, and each attempt with what the other side answered."""
    owner = owner_for(visit.tenant)
    destination, found, attempts = await visit.ports.ledger.ask(
        owner.fence,
        lambda connection: (
            known_destination(connection, owner.tenant, destination_id),
            find_message(connection, owner.tenant, destination_id, message_id),
            attempts_of(connection, owner.tenant, message_id),
        ),
    )
    if found is None:
        raise not_found("message", message_id)
    return visit.page("message.html", destination=destination, message=found, attempts=attempts)


async def _change(visit: Visit, destination_id: str, form: Form) -> Response[Any]:
    owner = owner_for(visit.tenant)
    wanted: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "language": one_of(form, "language", list(NAMES)),
        "zone": form.get("zone", "").strip(),
    }

    def change(connection: Connection) -> Destination:
        found = find_destination(connection, owner.tenant, destination_id)
        return change_destination(connection, found._replace(**wanted))

    try:
        await change_notices(visit.ports.ledger, visit.caller, owner, Action.DESTINATION_CHANGED, change)
    except ValueError as error:
        return await _destination_page(visit, destination_id, form, fault_of(visit.language, error))
    return see_other(visit.path(destination_path(destination_id), done=Done.CHANGED))


async def _destination_page(
    visit: Visit,
    destination_id: str,
    form: Form,
    faults: Mapping[str, str],
    *,
    done: str | None = None,
    test: str | None = None,
) -> Response[str]:
    owner = owner_for(visit.tenant)

    def ask(connection: Connection) -> Any:
        return (
            find_destination(connection, owner.tenant, destination_id),
            latest_tried(connection, owner.tenant).get(destination_id),
            find_message(connection, owner.tenant, destination_id, test) if test else None,
            [one for one in list_subscriptions(connection, owner.tenant) if one.destination_id == destination_id],
            list_deliveries(connection, owner.tenant, destination_id=destination_id, limit=MOST_DELIVERIES),
        )

    found, latest, sent, subscriptions, page = await visit.ports.ledger.ask(owner.fence, ask)
    return visit.page(
        "destination.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        destination=found,
        latest=latest,
        test=sent,
        test_path=visit.path(destination_path(destination_id), test=test),
        subscriptions=subscriptions,
        deliveries=page.rows,
        next_path=page.cursor and visit.path("/notices/deliveries", destination=destination_id, cursor=page.cursor),
        done=done_sentence(visit.language, done),
        form=_fields_of(found) | dict(form),
        faults=faults,
        zones=zones(),
    )


def _fields_of(destination: Destination) -> dict[str, str]:
    return {"name": destination.name, "language": destination.language, "zone": destination.zone}


def _form_page(visit: Visit, form: Form, faults: Mapping[str, str]) -> Response[str]:
    return visit.page(
        "destination_form.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK,
        form=form,
        faults=faults,
        kinds=kinds_of(owner_for(visit.tenant).tenant),
        zones=zones(),
    )


@lru_cache
def zones() -> list[str]:
    """Time zones by their names, as a form proposes them; those that a place has."""
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
