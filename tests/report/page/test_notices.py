"""Who is told, what and when: the page's forms, without a script; and the links that need no sign-in."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
from litestar.testing import TestClient

from streams.database.database import ALL_TENANTS
from streams.domain.time import DAY_MS
from streams.notices.destinations import (
    CHALLENGE_MS,
    ask_again,
    confirmation_token,
    get_destination,
    list_destinations,
    unsubscribe_token,
)
from streams.notices.facts import link_key
from streams.notices.model import Destination, DestinationState
from streams.notices.paths import confirm_path, unsubscribe_path
from streams.notices.subscriptions import list_subscriptions
from streams.notices.tables import DESTINATION, MESSAGE
from streams.report.access.failures import MOST_FAILURES
from tests.support.notice_history import ASKED, CONTACT, HOOK, MAIL, SECRET, TOKEN
from tests.support.notices import rows_of
from tests.support.page_client import ADDRESS, Client, SignIn, client_of, form_of, read
from tests.support.page_world import ADMIN, CSRF, NOW, OPERATOR, OTHER, READER, Engine, strangers_application

DESTINATIONS = "/notices/destinations"
NEW = {
    "csrf_token": CSRF,
    "kind": "MAIL",
    "name": "Second shift",
    "address": "second@contoso.example",
    "language": "es",
    "zone": "Europe/Madrid",
}
EVERY = {"csrf_token": CSRF, "destination": "d-mail", "least_severity": "INFO", "digest": "AT_ONCE"}


def says(client: Client, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return read(answer.text)[0]


def post(client: Client, path: str, data: dict[str, Any], status: int = 200) -> str:
    answer = client.post(path, data=data)
    assert answer.status_code == status, answer.text
    return read(answer.text)[0]


def destinations(engine: Engine, tenant: str = "contoso") -> dict[str, Destination]:
    with engine.ledger.reading(ALL_TENANTS) as connection:
        return {one.name: one for one in list_destinations(connection, tenant)}


def test_the_page_says_who_is_told_what_when_and_what_was_told(sign_in: SignIn) -> None:
    said = says(sign_in(READER), "/notices")
    assert "Mail admins mail admins@contoso.example in use delivered" in said
    assert "Ticket system webhook https://tickets.contoso.example/… parked 410 Gone failed; tried again on" in said
    assert "503 Service <Unavailable>" in said
    assert "Night <shift> mail night@contoso.example not confirmed yet nothing sent yet" in said
    assert "together, once a day at 08:00 from 22:00 to 06:00 only what is critical (Europe/Berlin)" in said
    assert "warnings and what is critical a stage has begun, a stage is about to begin servers: mx*.contoso.com" in said
    assert "Enforcement of ex03.contoso.com has become stricter" in said
    assert TOKEN not in said


def test_a_reader_sees_no_button_and_nobody_a_secret(sign_in: SignIn) -> None:
    for caller in (READER, ADMIN):
        for path in ("/notices", f"{DESTINATIONS}/d-hook"):
            html = sign_in(caller).get(path).text
            assert SECRET not in html
            assert TOKEN not in html
            assert ("Send a test" in html) is (caller is ADMIN)
    assert sign_in(READER).post(f"{DESTINATIONS}/d-hook", data={"action": "test"}).status_code == 403
    assert sign_in(READER).get(f"{DESTINATIONS}/new").status_code == 403


def test_another_tenant_s_destination_is_as_one_that_does_not_exist(sign_in: SignIn) -> None:
    client = sign_in(OTHER)
    for path in ("/d-hook", "/d-hook/remove", "/d-hook/messages/msg_hook"):
        theirs, nobodys = (
            says(client, DESTINATIONS + path, 404),
            says(client, DESTINATIONS + path.replace("hook", "x"), 404),
        )
        assert re.sub("d-hook|msg_hook|Number.*", "", theirs) == re.sub("d-x|msg_x|Number.*", "", nobodys)
    for action in ("test", "unpark", "remove", "secret", "ask"):
        post(client, f"{DESTINATIONS}/d-hook", {"action": action}, 404)
    said = says(client, "/notices")
    assert "Hook of fabrikam" in said
    assert "contoso" not in said
    assert "This notice was sent to nobody" in says(client, "/notices/deliveries?notification=n59")


def test_operators_have_destinations_of_their_own(own_engine: Engine) -> None:
    with client_of(own_engine, OPERATOR) as client:
        said = says(client, "/notices")
        assert "Notices to operators" in said
        assert "noc@operator.example" in said
        assert "contoso" not in said
        assert "not sent: too old" in says(client, f"{DESTINATIONS}/d-operators")
        assert "Mail admins" in says(client, "/notices?tenant=contoso")
        post(client, f"{DESTINATIONS}?tenant=contoso", NEW)
        post(client, DESTINATIONS, NEW | {"name": "Night operator"})
    assert "Second shift" in destinations(own_engine)
    assert destinations(own_engine, "*")["Night operator"].address == "second@contoso.example"


def test_apprise_is_for_operators_alone(own_engine: Engine) -> None:
    apprise = NEW | {"kind": "APPRISE", "address": "ntfys://tk_secret@ntfy.operator.example/alarms"}
    with client_of(own_engine, ADMIN) as client:
        assert "Apprise" not in says(client, f"{DESTINATIONS}/new")
        assert "APPRISE" not in post(client, DESTINATIONS, apprise, 400).replace("'APPRISE'", "")
    with client_of(own_engine, OPERATOR) as client:
        assert "Apprise" not in says(client, f"{DESTINATIONS}/new?tenant=contoso")
        post(client, f"{DESTINATIONS}?tenant=contoso", apprise, 400)
        form = client.get(f"{DESTINATIONS}/new").text
        assert 'value="APPRISE"' in form
        assert "Give an address of Apprise" in post(client, DESTINATIONS, apprise | {"address": "x"}, 422)
        said = post(client, DESTINATIONS, apprise)
        assert "Apprise: ntfys://…" in said
        assert "tk_secret" not in said
        assert "tk_secret" not in says(client, "/notices")
    with client_of(own_engine, ADMIN) as client:
        assert "ntfys" not in says(client, "/notices")
    assert [one.kind for one in destinations(own_engine).values() if one.kind == "APPRISE"] == []


def test_a_destination_is_added_asked_and_shown(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        fields = form_of(client.get(f"{DESTINATIONS}/new").text, DESTINATIONS)
        assert fields == {"csrf_token": CSRF}
        said = post(client, DESTINATIONS, NEW)
        assert "The destination was made. It is asked whether it wants to be told." in said
        assert "Nothing is sent before somebody confirms it by the link that was sent there." in said
        again = post(client, DESTINATIONS, NEW, 422)
        assert "There is one with this address already." in again
    made = destinations(own_engine)["Second shift"]
    assert (made.state, made.language, made.zone) == (DestinationState.UNCONFIRMED, "es", "Europe/Madrid")
    assert (made.created_by, made.created_at) == (ADMIN.name, NOW)


def test_a_webhook_s_secret_is_shown_once(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        said = post(client, DESTINATIONS, NEW | {"kind": "WEBHOOK", "address": "https://pager.contoso.example/x"})
        made = destinations(own_engine)["Second shift"]
        assert made.secret
        assert made.secret in said
        path = f"{DESTINATIONS}/{made.destination_id}"
        assert made.secret not in says(client, path)
        renewed = post(client, path, {"csrf_token": CSRF, "action": "secret"})
        assert destinations(own_engine)["Second shift"].secret in renewed
        assert made.secret not in renewed
        assert "The former secret signs too until 28 Nov 2026, 09:00 UTC" in says(client, path)


@pytest.mark.parametrize(
    ("changes", "says_so"),
    [
        ({"name": " "}, "Give 1 to 100 characters."),
        ({"address": "nobody"}, "Give a mail address, as admin@contoso.com."),
        ({"kind": "SLACK", "address": "http://hooks.example/"}, "Give an address that begins with https://"),
        ({"kind": "TEAMS", "address": "https://a@b.example/"}, "Give an address that begins with https://"),
        ({"zone": "Mars/Olympus"}, "Give a time zone by its name, as Europe/Berlin."),
    ],
)
def test_a_form_with_faults_says_what_to_give_and_keeps_the_rest(
    sign_in: SignIn, changes: dict[str, str], says_so: str
) -> None:
    answer = sign_in(ADMIN).post(DESTINATIONS, data=NEW | changes)
    said, tags = read(answer.text)
    assert (answer.status_code, says_so in said) == (422, True)
    (wrong,) = [attributes for _, attributes in tags if attributes.get("aria-invalid") == "true"]
    (named,) = [attributes for _, attributes in tags if attributes.get("id") == wrong["aria-describedby"]]
    assert named["class"] == "fault"
    if "name" not in changes:
        assert 'value="Second shift"' in answer.text


def test_forms_that_are_none_of_ours_are_refused(sign_in: SignIn) -> None:
    client = sign_in(ADMIN)
    for path, form in (
        (DESTINATIONS, NEW | {"kind": "PIGEON"}),
        (DESTINATIONS, NEW | {"language": "xx"}),
        (f"{DESTINATIONS}/d-mail", {"action": "explode"}),
        ("/notices/subscriptions", EVERY | {"digest": "WEEKLY"}),
        ("/notices/subscriptions", EVERY | {"kinds": "NEWS"}),
        ("/notices/subscriptions", EVERY | {"least_severity": "LOUD"}),
    ):
        post(client, path, form, 400)
    assert "notification: 'xxx" in says(client, f"/notices/deliveries?notification={'x' * 65}", 400)
    post(client, "/notices/subscriptions", EVERY | {"destination": "d-fabrikam"}, 404)


def test_a_destination_is_changed_parked_no_more_and_removed(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        path = f"{DESTINATIONS}/d-hook"
        change = {"csrf_token": CSRF, "action": "change", "name": "Tickets", "language": "de", "zone": "Asia/Tokyo"}
        assert "The destination was changed." in post(client, path, change)
        assert "Give a time zone by its name" in post(client, path, change | {"zone": "x"}, 422)
        assert "Nothing was sent since 9 Sept 2026" in says(client, path)
        unparked = post(client, path, {"csrf_token": CSRF, "action": "unpark"})
        assert "The destination is in use again. What waited goes now, together." in unparked
        assert "parked" not in unparked
        question = client.get(f"{path}/remove").text
        assert "Remove Tickets" in question
        said = post(client, path, form_of(question, path))
        assert "The destination was removed. Nothing is sent there any more." in said
        assert "Tickets" not in says(client, "/notices")
        says(client, path, 404)
        # What was sent stays in the history.
        assert "Tickets" in says(client, "/notices/deliveries?notification=n59")
        assert "503 Service <Unavailable>" in says(client, f"{path}/messages/msg_hook")


def test_a_test_shows_its_outcome(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        answer = client.post(f"{DESTINATIONS}/d-mail", data={"csrf_token": CSRF, "action": "test"})
        said, tags = read(answer.text)
        assert "Test: on its way Load this page again to see how it went." in said
        assert [attributes for _, attributes in tags if attributes.get("hx-trigger") == "every 3s"]
        ended = {"state": "SENT", "attempts": 1, "ended_at": NOW, "last_code": 250, "last_outcome": "DELIVERED"}
        with own_engine.ledger.writing() as connection:
            connection.execute(MESSAGE.update().where(MESSAGE.c.form == "TEST").values(last_why="2.0.0 Ok", **ended))
        answer = client.get(str(answer.url).removeprefix(ADDRESS))
        assert "Test: delivered 250 2.0.0 Ok" in read(answer.text)[0]
        assert 'hx-trigger="every' not in answer.text
        assert "is not confirmed" in post(client, f"{DESTINATIONS}/d-asked", {"action": "test"}, 409)
        assert "It is asked once more" in post(client, f"{DESTINATIONS}/d-asked", {"action": "ask"})


def test_what_is_done_by_a_button_is_in_the_log_with_who_did_it(
    own_engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with client_of(own_engine, ADMIN) as client, caplog.at_level(logging.INFO):
        post(client, DESTINATIONS, NEW)
        for path, action in (("d-mail", "test"), ("d-asked", "ask"), ("d-hook", "secret"), ("d-hook", "unpark")):
            client.post(f"{DESTINATIONS}/{path}", data={"csrf_token": CSRF, "action": action})
        change = {"csrf_token": CSRF, "action": "change", "name": "Tickets", "language": "de", "zone": "Asia/Tokyo"}
        post(client, f"{DESTINATIONS}/d-hook", change)
        post(client, "/notices/subscriptions", EVERY)
        (made,) = [one for one in caplog.records if getattr(one, "fields", {}).get("action") == "subscription_added"]
        path = f"/notices/subscriptions/{vars(made)['fields']['subscription']}"
        post(client, path, EVERY | {"action": "change", "digest": "HOURLY"})
        post(client, path, {"csrf_token": CSRF, "action": "end"})
        post(client, f"{DESTINATIONS}/d-mail", {"csrf_token": CSRF, "action": "remove"})
    lines = [vars(one)["fields"] for one in caplog.records if vars(one).get("event") == "report_notices_changed"]
    assert [line["action"] for line in lines] == [
        "destination_added",
        "destination_tested",
        "destination_asked",
        "secret_renewed",
        "destination_unparked",
        "destination_changed",
        "subscription_added",
        "subscription_changed",
        "subscription_ended",
        "destination_removed",
    ]
    assert {(line["by"], line["tenant"]) for line in lines} == {(ADMIN.name, "contoso")}
    assert TOKEN not in str(lines)
    assert SECRET not in str(lines)


def test_a_subscription_is_made_changed_and_ended(own_engine: Engine) -> None:
    def kept() -> dict[str, Any]:
        with own_engine.ledger.reading("contoso") as connection:
            return {one.subscription_id: one for one in list_subscriptions(connection, "contoso")}

    with client_of(own_engine, ADMIN) as client:
        quiet = {"quiet_from": "23:30", "quiet_to": "05:00", "is_quiet_for_critical": "yes"}
        given = EVERY | quiet | {"kinds": ["PAUSE_ENDED", "STAGE_ENTERED"], "servers": "mx*", "daily_at": ""}
        before = set(kept())
        said = post(client, "/notices/subscriptions", given)
        assert "The subscription was made. It begins now." in said
        assert "nothing from 23:30 to 05:00" in said
        (key,) = set(kept()) - before
        made = kept()[key]
        assert (made.kinds, made.servers, made.quiet_from, made.quiet_to) == (
            ("PAUSE_ENDED", "STAGE_ENTERED"),
            "mx*",
            23 * 60 + 30,
            300,
        )
        assert (made.is_quiet_for_critical, made.daily_at, made.created_at) == (True, 480, NOW)
        path = f"/notices/subscriptions/{key}"
        html = client.get(path).text
        assert re.search(r'value="PAUSE_ENDED" checked', html)
        assert 'value="23:30"' in html
        changed = EVERY | {"action": "change", "digest": "DAILY", "daily_at": "07:15"}
        assert "The subscription was changed." in post(client, path, changed)
        assert kept()[key]._replace(kinds=None, servers=None) == made._replace(
            kinds=None,
            servers=None,
            digest="DAILY",
            daily_at=435,
            quiet_from=None,
            quiet_to=None,
            is_quiet_for_critical=False,
        )
        said = post(client, path, form_of(client.get(f"{path}/end").text, path))
        assert "The subscription was ended." in said
        assert set(kept()) == before


@pytest.mark.parametrize(
    ("changes", "says_so"),
    [
        ({"quiet_from": "22:00"}, "Give both times, or none for no quiet hours."),
        ({"quiet_from": "22:00", "quiet_to": "22:00"}, "Give another time than the one from which it is quiet."),
        ({"daily_at": "25:00"}, "Give a time of the day, as 22:00."),
        ({"servers": "x" * 256}, "Give 1 to 255 characters."),
    ],
)
def test_a_subscription_with_faults_says_what_to_give(sign_in: SignIn, changes: dict[str, str], says_so: str) -> None:
    assert says_so in post(sign_in(ADMIN), "/notices/subscriptions", EVERY | changes, 422)


def test_without_notices_the_page_says_so_and_shows_what_was_told(own_engine: Engine) -> None:
    engine = Engine(own_engine.database)
    with client_of(engine, ADMIN) as client:
        said = says(client, "/notices")
        assert "the operator has not set up that they are sent anywhere" in said
        assert "Enforcement of ex03.contoso.com has become stricter" in said
        assert "Add a destination" not in said
        for path in (f"{DESTINATIONS}/d-hook", "/notices/deliveries"):
            refused = says(client, path, 503)
            assert "Notices are not set up here." in refused
            assert "run tes notify" in refused
        assert "6 of 17 servers are out of date." in says(client, "/")


def ask_now(engine: Engine) -> str:
    """Ask the unconfirmed destination now; returns the path of the link that it is sent."""
    with engine.ledger.writing() as connection:
        ask_again(connection, "contoso", ASKED.destination_id, NOW)
        asked = get_destination(connection, "contoso", ASKED.destination_id)
        return confirm_path(confirmation_token(connection, asked))


def unsubscribing(engine: Engine, destination: Destination) -> str:
    """The path of the link that ends what a destination is sent."""
    with engine.ledger.reading(ALL_TENANTS) as connection:
        return unsubscribe_path(unsubscribe_token(link_key(connection), destination))


def state_of(engine: Engine, destination: Destination) -> str:
    rows = {row["destination_id"]: row["state"] for row in rows_of(engine.ledger, DESTINATION)}
    return str(rows[destination.destination_id])


def test_a_link_confirms_when_its_button_is_pressed_and_no_sooner(own_engine: Engine) -> None:
    path = ask_now(own_engine)
    with client_of(own_engine, ADMIN) as client:
        for _ in range(3):
            said = says(client, path)
        assert "Do you want to be told?" in said
        assert "Night <shift> · n…@contoso.example" in said
        assert "night@contoso.example" not in said
        assert "Ada Admin" not in said
        assert state_of(own_engine, ASKED) == "UNCONFIRMED"
        assert "You are told from now on" in post(client, path, {})
        assert state_of(own_engine, ASKED) == "ACTIVE"


def test_a_link_shows_no_address_by_the_name_of_a_contact(own_engine: Engine) -> None:
    with client_of(own_engine, ADMIN) as client:
        said = says(client, unsubscribing(own_engine, CONTACT))
    assert "o…@contoso.example" in said
    assert "ops@" not in said


def test_links_need_no_sign_in_and_all_else_does(own_engine: Engine) -> None:
    question, end = ask_now(own_engine), unsubscribing(own_engine, MAIL)
    with TestClient(strangers_application(own_engine), base_url="https://report.example") as client:
        for path in ("/notices", f"{DESTINATIONS}/d-mail", "/notices/deliveries", f"{DESTINATIONS}/d-mail/remove"):
            assert client.get(path).status_code == 401
        for path in (DESTINATIONS, f"{DESTINATIONS}/d-mail", "/notices/subscriptions/s-mail"):
            assert client.post(path, data={"action": "remove"}).status_code == 401
        assert client.post(question).status_code == 200
        headers = {"Origin": "https://mail.example", "Sec-Fetch-Site": "cross-site"}
        assert client.post(end, data={"List-Unsubscribe": "One-Click"}, headers=headers).status_code == 200
    assert (state_of(own_engine, ASKED), state_of(own_engine, MAIL)) == ("ACTIVE", "REMOVED")


def test_every_link_that_does_not_work_is_answered_alike(own_engine: Engine) -> None:
    used = ask_now(own_engine)
    void = used
    with client_of(own_engine, ADMIN) as client:
        used = ask_now(own_engine)
        client.post(used)
        other = unsubscribing(own_engine, HOOK)
        wrong = [
            void,
            used,
            used[:-2],
            confirm_path(""),
            confirm_path("é\U0001f600"),
            confirm_path("A" * 600),
            other.replace("unsubscribe", "confirm"),
            used.replace("confirm", "unsubscribe"),
            unsubscribe_path("AAAAAAAAAAAAAAAAAAAAAGNvbnRvc28KZC1tYWls"),
            "/notices/unsubscribe",
        ]
        answers = {(client.get(path).status_code, client.get(path).text) for path in wrong}
        answers |= {(client.post(path).status_code, client.post(path).text) for path in wrong}
        ((status, html),) = answers
    assert status == 404
    assert "This link does not work" in html
    assert state_of(own_engine, HOOK) == "PARKED"


def test_a_question_expires(own_engine: Engine) -> None:
    path = ask_now(own_engine)
    with own_engine.ledger.writing() as connection:
        connection.execute(DESTINATION.update().values(challenge_until=NOW))
    with client_of(own_engine, ADMIN) as client:
        assert (client.get(path).status_code, client.post(path).status_code) == (404, 404)
    assert state_of(own_engine, ASKED) == "UNCONFIRMED"
    assert CHALLENGE_MS == 3 * DAY_MS


def test_one_click_ends_what_is_sent_and_once_more_is_no_fault(own_engine: Engine) -> None:
    path = unsubscribing(own_engine, MAIL)
    with client_of(own_engine, ADMIN) as client:
        assert "Do you want to be told no more?" in says(client, path)
        assert state_of(own_engine, MAIL) == "ACTIVE"
        for _ in range(2):  # as a mail program posts it: without a page of ours, a cookie or a token of a session
            answer = client.post(path, data={"List-Unsubscribe": "One-Click"})
            assert answer.status_code == 200
            assert "You are told no more" in answer.text
        assert state_of(own_engine, MAIL) == "REMOVED"
        assert client.get(path).status_code == 404
        assert answer.headers["cache-control"] == "no-store"


def test_who_tries_many_links_is_told_to_wait_and_a_good_link_works_still(own_engine: Engine) -> None:
    path = unsubscribing(own_engine, HOOK)
    with client_of(own_engine, ADMIN) as client:
        for _ in range(MOST_FAILURES):
            assert client.get(confirm_path("forged")).status_code == 404
        answer = client.get(confirm_path("forged"))
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
        assert client.get(path).status_code == 200
