"""The figures of notices: what is lost, sent twice or left over must be seen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from benchmarks.notify import GROUP_ABOVE, Book, Ports, Source, add_destinations, balance, deliveries, health_of
from streams.clock import wall_clock_ms
from streams.domain.time import MINUTE_MS
from streams.notices.facts import begin
from streams.notices.model import DestinationKind
from streams.notices.opening import open_ledger
from streams.notify.lanes import Lanes
from streams.notify.runs import Attempt, Run
from streams.settings.notify import NotifySettings
from tests.support.channels import DELIVERED, FAILED

WEBHOOK, MAIL = DestinationKind.WEBHOOK, DestinationKind.MAIL


def test_one_destination_in_twenty_is_dead_and_one_is_slow_unless_a_relay_is_between() -> None:
    assert Counter(health_of(number, WEBHOOK) for number in range(400)) == {
        "healthy": 360,
        "slow": 20,
        "refuses": 10,
        "hangs": 10,
    }
    assert Counter(health_of(number, MAIL) for number in range(400)) == {"healthy": 380, "refuses": 10, "hangs": 10}


def test_every_webhook_has_an_address_of_its_own() -> None:
    ports = Ports(8000, 9000)
    urls = {ports.address(number, WEBHOOK, "healthy") for number in range(2_000)}
    assert len(urls) == 2_000
    assert ports.address(258, WEBHOOK, "slow") == "http://127.1.1.2:8000/slow"
    assert ports.address(0, WEBHOOK, "refuses") == "http://127.1.0.0:9000/hook"


def test_a_line_that_is_not_whole_yet_is_read_later(tmp_path: Path) -> None:
    book = Book(tmp_path / "book")
    book.path.write_text("m1 5\nm2")
    book.read()
    assert book.came == {"m1": [5]}
    book.path.write_text("m1 5\nm2 6\nm1 7\n")
    book.read()
    book.read()
    assert book.came == {"m1": [5, 7], "m2": [6]}


def test_what_did_not_arrive_came_twice_or_waits_is_counted(tmp_path: Path) -> None:
    database = open_ledger(NotifySettings(directory=str(tmp_path)))
    database.migrate()
    begin(database, wall_clock_ms())
    health = add_destinations(database, Ports(8000, 9000), WEBHOOK, 4)
    source = Source(database, 4)
    source.write(8)
    lanes = Lanes(database, "test", GROUP_ABOVE, lambda: wall_clock_ms() + MINUTE_MS, lambda: 0.5, lambda _: None)
    claims = lanes.claim([WEBHOOK], 10)
    healthy = [claim for claim in claims if health[claim.destination.destination_id] == "healthy"]
    done = [Run(claim, tuple(Attempt(message, 1, 2, DELIVERED) for message in claim.messages)) for claim in healthy]
    lanes.finish(done)
    ids = [message.message_id for claim in healthy for message in claim.messages]
    assert len(ids) == 4
    assert len(deliveries(database)) == 8
    came = {one: [3] for one in ids}
    waiting = {"refuses": 2, "slow": 2}
    none = {"lost": 0, "duplicates": 0, "answered_too_late": 0, "waiting": waiting}
    assert balance(database, 8, came, health) == none
    del came[ids[0]]
    came[ids[1]] = [3, 4]
    # One more was handed to the recorder, and is not in the ledger.
    assert balance(database, 9, came, health) == none | {"lost": 2, "duplicates": 1}
    # The ledger says of a message to one that is slow that it got no answer.
    (slow,) = [claim for claim in claims if health[claim.destination.destination_id] == "slow"]
    message = slow.messages[0]
    lanes.finish([Run(slow, (Attempt(message, 1, 2, FAILED),))])
    came[message.message_id] = [3, 4]
    assert balance(database, 9, came, health) == none | {"lost": 2, "duplicates": 2, "answered_too_late": 1}
    database.close()
