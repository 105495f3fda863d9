"""Destinations and subscriptions: bounded, confirmed before they are used, and never another tenant's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from alembic.command import upgrade
from sqlalchemy import Text, insert, select, text, update
from sqlalchemy.exc import DBAPIError

from streams.database import migrating
from streams.database.database import ALL_TENANTS, Database
from streams.domain.time import DAY_MS
from streams.domain.validation import MalformedError
from streams.notices.destinations import (
    CHALLENGE_MS,
    MOST_DESTINATIONS,
    MOST_UNCONFIRMED,
    LimitError,
    TakenError,
    UnknownDestinationError,
    ask_again,
    confirm,
    confirm_by_token,
    confirmation_token,
    create_destination,
    ensure_contact,
    get_destination,
    list_destinations,
    park,
    remove_destination,
    rotate_secret,
    send_test,
    unpark,
    unsubscribe_by_token,
    unsubscribe_token,
)
from streams.notices.facts import began_at, begin, link_key
from streams.notices.model import OPERATORS, DestinationKind, DestinationState, Origin, Subscription
from streams.notices.opening import open_ledger
from streams.notices.subscriptions import (
    UnknownSubscriptionError,
    change_subscription,
    create_subscription,
    list_subscriptions,
    remove_subscription,
)
from streams.notices.tables import DESTINATION, LANE, MESSAGE, METADATA, NEVER, OF_TENANTS
from streams.notices.times import ZoneError
from streams.notices.tokens import TokenError
from streams.notices.webhook_secrets import check_secret
from streams.settings.database import DatabaseSettings
from tests.support.notices import START, add_destination, rows_of, subscribe


def test_the_ledger_begins_once(database: Database) -> None:
    with database.reading(ALL_TENANTS) as connection:
        key = link_key(connection)
    begin(database, START + DAY_MS)
    with database.reading(ALL_TENANTS) as connection:
        assert (began_at(connection), link_key(connection)) == (START, key)


def test_a_destination_is_used_once_it_says_so(database: Database) -> None:
    made = add_destination(database, is_confirmed=False)
    assert made.state is DestinationState.UNCONFIRMED
    assert rows_of(database, LANE)[0]["due_at"] == START
    with database.writing() as connection:
        token = confirmation_token(connection, made)
        found = confirm_by_token(connection, token, START + 1)
        assert (found.state, found.confirmed_at) == (DestinationState.ACTIVE, START + 1)
        assert confirm_by_token(connection, token, START + 2).confirmed_at == START + 1
    assert [row["state"] for row in rows_of(database, MESSAGE)] == ["GIVEN_UP"]


def test_a_question_is_answered_by_nobody_else_and_not_for_ever(database: Database) -> None:
    made = add_destination(database, is_confirmed=False)
    with database.writing() as connection:
        token = confirmation_token(connection, made)
        for wrong in ("", "x" * 600, token[:-2], token.swapcase(), unsubscribe_token(link_key(connection), made)):
            with pytest.raises(TokenError):
                confirm_by_token(connection, wrong, START)
        with pytest.raises(TokenError):
            confirm_by_token(connection, token, START + CHALLENGE_MS)
        ask_again(connection, "contoso", made.destination_id, START + CHALLENGE_MS)
        with pytest.raises(TokenError):
            confirm_by_token(connection, token, START + CHALLENGE_MS)
        again = confirmation_token(connection, made)
        assert confirm_by_token(connection, again, START + CHALLENGE_MS).state is DestinationState.ACTIVE


def test_a_tenant_has_so_many_destinations_and_asks_so_many_people_a_day(database: Database) -> None:
    for number in range(MOST_UNCONFIRMED):
        add_destination(database, address=f"a{number}@contoso.example")
    with pytest.raises(LimitError, match="10 a day"):
        add_destination(database)
    add_destination(database, "fabrikam")
    for number in range(MOST_UNCONFIRMED, MOST_DESTINATIONS):
        now = START + (1 + number // MOST_UNCONFIRMED) * DAY_MS
        add_destination(database, address=f"a{number}@contoso.example", now=now)
    with pytest.raises(LimitError, match="at most 50"):
        add_destination(database, now=START + 100 * DAY_MS)


@pytest.mark.parametrize(
    ("kind", "name", "address", "language", "zone"),
    [
        (DestinationKind.MAIL, "", "a@contoso.com", "en", "UTC"),
        (DestinationKind.MAIL, "a\r\nBcc: x@y.example", "a@contoso.com", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@contoso.com\r\nBcc: x@y.example", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@contoso.com,b@contoso.com", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@[192.0.2.1]", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@localhost", "en", "UTC"),
        (DestinationKind.MAIL, "a", "x" * 65 + "@contoso.com", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@contoso.com", "tlh", "UTC"),
        (DestinationKind.MAIL, "a", "a@contoso.com", "en", "../../etc/passwd"),
        (DestinationKind.WEBHOOK, "a", "ftp://contoso.com/", "en", "UTC"),
        (DestinationKind.WEBHOOK, "a", "https://user:pass@contoso.com/", "en", "UTC"),
        (DestinationKind.WEBHOOK, "a", "https://contoso.com:port/", "en", "UTC"),
        (DestinationKind.SLACK, "a", "https://contoso.com/\r\nHost: x", "en", "UTC"),
        (DestinationKind.TEAMS, "a", "https://contoso.com:25/", "en", "UTC"),
        (DestinationKind.TEAMS, "a", "https://contoso.com/" + "a" * 2_000, "en", "UTC"),
        (DestinationKind.DISCORD, "a", "https://contoso.com/#part", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a..b@contoso.com", "en", "UTC"),
        (DestinationKind.MAIL, "a", "a@127.0.0.1", "en", "UTC"),
    ],
)
def test_what_is_no_destination_is_refused(
    database: Database, kind: DestinationKind, name: str, address: str, language: str, zone: str
) -> None:
    with database.writing() as connection, pytest.raises((MalformedError, ZoneError)):
        create_destination(
            connection,
            tenant="contoso",
            kind=kind,
            name=name,
            address=address,
            now=START,
            created_by="test",
            language=language,
            zone=zone,
        )


def test_a_parked_destination_is_used_again(database: Database) -> None:
    made = add_destination(database)
    with database.writing() as connection:
        assert park(connection, made, "550 no such user", START + 5)
        assert not park(connection, made, "550 again", START + 6)
        found = get_destination(connection, "contoso", made.destination_id)
        assert (found.state, found.parked_at, found.parked_why) == ("PARKED", START + 5, "550 no such user")
        assert unpark(connection, "contoso", made.destination_id, START + 9).state is DestinationState.ACTIVE
    assert rows_of(database, LANE)[0]["due_at"] == START + 9


def test_who_wants_no_more_is_told_no_more(database: Database) -> None:
    with database.writing() as connection:
        made = ensure_contact(connection, "contoso", "mail@contoso.example", START)
        assert (made.state, made.origin) == (DestinationState.ACTIVE, Origin.CONNECTOR)
        token = unsubscribe_token(link_key(connection), made)
        for _ in range(2):
            unsubscribe_by_token(connection, token, START + 1)
        assert ensure_contact(connection, "contoso", "mail@contoso.example", START + 2).state == "REMOVED"
        assert list_destinations(connection, "contoso") == []
    assert rows_of(database, LANE)[0]["due_at"] == NEVER


def test_a_former_secret_signs_for_a_day(database: Database) -> None:
    made = add_destination(database, kind=DestinationKind.WEBHOOK)
    assert made.secret.startswith("whsec_")
    with database.writing() as connection:
        found = rotate_secret(connection, "contoso", made.destination_id, START)
        assert found.former_secret == made.secret != found.secret
        assert found.former_secret_until == START + DAY_MS
        mail = ensure_contact(connection, "contoso", "mail@contoso.example", START)
        with pytest.raises(UnknownDestinationError):
            rotate_secret(connection, "contoso", mail.destination_id, START)


def test_a_test_goes_only_to_who_agreed(database: Database) -> None:
    made = add_destination(database, is_confirmed=False)
    with database.writing() as connection:
        with pytest.raises(UnknownDestinationError, match="not confirmed"):
            send_test(connection, "contoso", made.destination_id, START)
        confirm(connection, "contoso", made.destination_id, START)
        message_id = send_test(connection, "contoso", made.destination_id, START)
    assert [row["form"] for row in rows_of(database, MESSAGE) if row["message_id"] == message_id] == ["TEST"]


def test_what_is_another_tenants_is_unknown(database: Database) -> None:
    made = add_destination(database, "fabrikam")
    subscription = subscribe(database, made)
    with database.writing("contoso") as connection:
        for change in (unpark, rotate_secret, send_test, confirm, ask_again):
            with pytest.raises(UnknownDestinationError):
                change(connection, "contoso", made.destination_id, START)
        with pytest.raises(UnknownDestinationError):
            remove_destination(connection, "contoso", made.destination_id, "", START)
        with pytest.raises(UnknownDestinationError):
            create_subscription(connection, Subscription("contoso", "", made.destination_id), START, "test")
        with pytest.raises(UnknownSubscriptionError):
            remove_subscription(connection, "contoso", subscription.subscription_id)
        with pytest.raises(UnknownSubscriptionError):
            change_subscription(connection, subscription._replace(tenant_id="contoso"))
    assert rows_of(database, DESTINATION)[0]["state"] == "ACTIVE"


@pytest.mark.database
@pytest.mark.parametrize("ledger_settings", ["postgresql"], indirect=True)
def test_the_database_fences_tenants_too(database: Database) -> None:
    subscribe(database, add_destination(database))
    subscribe(database, add_destination(database, "fabrikam"))
    add_destination(database, OPERATORS, address="ops@example.com")
    for tenant, expected in (("contoso", {"contoso"}), (ALL_TENANTS, {"contoso", "fabrikam", OPERATORS})):
        with database.reading(tenant) as connection:
            seen = {row.tenant_id for table in OF_TENANTS for row in connection.execute(select(table))}
        assert seen == expected
    row = rows_of(database, DESTINATION)[0] | {"tenant_id": "fabrikam", "destination_id": "x"}
    with database.writing("contoso") as connection, pytest.raises(DBAPIError, match="row-level security"):
        connection.execute(insert(DESTINATION).values(**row))


@pytest.mark.parametrize(
    "values",
    [
        {"kinds": ()},
        {"kinds": ("SERVER_GONE",)},
        {"least_severity": "HIGH"},
        {"servers": ""},
        {"servers": "a\nb"},
        {"daily_at": 1440},
        {"quiet_from": 60},
        {"quiet_from": 60, "quiet_to": 60},
        {"quiet_from": 60, "quiet_to": -1},
    ],
)
def test_what_is_no_subscription_is_refused(database: Database, values: dict[str, Any]) -> None:
    made = add_destination(database)
    with pytest.raises(MalformedError):
        subscribe(database, made, **values)


def test_a_subscription_is_changed_and_removed(database: Database) -> None:
    made = subscribe(database, add_destination(database), kinds=("STAGE_ENTERED", "SERVER_DETECTED"))
    assert made.kinds == ("SERVER_DETECTED", "STAGE_ENTERED")
    with database.writing() as connection:
        changed = change_subscription(connection, made._replace(kinds=None, servers="mx*", quiet_from=0, quiet_to=60))
        assert changed == made._replace(kinds=None, servers="mx*", quiet_from=0, quiet_to=60)
        assert list_subscriptions(connection, "contoso") == [changed]
        remove_subscription(connection, "contoso", made.subscription_id)
        assert list_subscriptions(connection, "contoso") == []


def test_the_tables_are_those_that_statements_name(database: Database) -> None:
    with database.reading(ALL_TENANTS) as connection:
        for table in METADATA.tables.values():
            connection.execute(select(table)).all()


def test_a_secret_is_one_that_its_signer_takes(database: Database) -> None:
    made = add_destination(database, kind=DestinationKind.WEBHOOK)
    check_secret(made.secret)
    with database.writing() as connection:
        rotated = rotate_secret(connection, made.tenant_id, made.destination_id, START)
    check_secret(rotated.secret)
    assert rotated.former_secret == made.secret


def test_two_who_make_the_same_destination_at_once_get_one(database: Database) -> None:
    about: dict[str, Any] = {
        "kind": DestinationKind.MAIL,
        "name": "Admins",
        "address": "a@contoso.example",
        "now": START,
    }

    def make() -> str:
        with database.writing("contoso") as later:
            return create_destination(later, tenant="contoso", created_by="two", **about).destination_id

    with ThreadPoolExecutor(1) as other:
        with database.writing("contoso") as connection:
            made = create_destination(connection, tenant="contoso", created_by="one", **about)
            second = other.submit(make)
            with suppress(TimeoutError):
                second.result(0.2)  # it waits for the first one to end
        with pytest.raises(TakenError, match=made.destination_id):
            second.result()
    assert [row["destination_id"] for row in rows_of(database, DESTINATION)] == [made.destination_id]
    with database.writing("contoso") as connection:
        remove_destination(connection, "contoso", made.destination_id, "", START)
        create_destination(connection, tenant="contoso", created_by="one", **about)
        ensure_contact(connection, "contoso", "a@contoso.example", START)
    assert len(rows_of(database, DESTINATION)) == 3


def test_an_address_may_be_used_again_that_an_older_version_removed(database: Database) -> None:
    """While versions run side by side the older one removes destinations, and knows nothing of keys."""
    made = add_destination(database)
    with database.writing() as connection:
        connection.execute(update(DESTINATION).values(state=DestinationState.REMOVED))
    again = add_destination(database)
    assert again.destination_id != made.destination_id
    keys = {row["destination_id"]: row["address_key"] is not None for row in rows_of(database, DESTINATION)}
    assert keys == {made.destination_id: False, again.destination_id: True}


def test_destinations_that_were_made_twice_before_stay(ledger_settings: DatabaseSettings) -> None:
    older = open_ledger(ledger_settings)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(migrating, "upgrade", lambda config, _: upgrade(config, "0001"))
        older.migrate()
    columns = [column for column in DESTINATION.columns if column.name != "address_key"]
    values = {column.name: "" if isinstance(column.type, Text) else 0 for column in columns if not column.nullable}
    values |= {"tenant_id": "contoso", "kind": "MAIL", "address": "a@contoso.example", "origin": "TENANT"}
    with older.writing() as connection:
        named = ", ".join(values)
        statement = text(f"INSERT INTO destination ({named}) VALUES ({', '.join(':' + name for name in values)})")
        for one, state in (("d1", "UNCONFIRMED"), ("d2", "ACTIVE"), ("d3", "REMOVED")):
            connection.execute(statement, values | {"destination_id": one, "state": state})
    older.close()
    database = open_ledger(ledger_settings)
    database.migrate()
    keys = {row["destination_id"]: row["address_key"] is not None for row in rows_of(database, DESTINATION)}
    assert keys == {"d1": False, "d2": True, "d3": False}
    begin(database, START)
    with database.writing() as connection, pytest.raises(TakenError, match="d2"):
        create_destination(
            connection,
            tenant="contoso",
            kind=DestinationKind.MAIL,
            name="Admins",
            address="a@contoso.example",
            now=START,
            created_by="test",
        )
    database.close()
