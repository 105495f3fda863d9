"""Detection over any lines, greeting and address."""

from __future__ import annotations

from streams.domain.exchange.build import parse_build
from streams.domain.exchange.clauses import MAX_LINE_CHARS
from streams.domain.exchange.detection import MAX_LINES, Identity, check_server, detect
from streams.domain.exchange.names import canonical_address, canonical_server
from streams.domain.exchange.received import parse_received
from streams.domain.validation import MalformedError
from streams.worker.header_cache import HeaderCache
from tests.fuzz.targets.service import LINE, check_reason
from tests.support.cached_headers import found_in

SEPARATOR = "\x1e"
"""Between greeting, address and each line; every other control character can stand inside of one."""


def _is_refused(received: list[str], helo: str) -> bool:
    try:
        check_server(received, helo)
    except MalformedError:
        return True
    return False


def _check_cache(lines: list[str], helo: str, source_ip: str) -> None:
    cache = HeaderCache(50)
    try:
        seen = detect(lines, helo, source_ip)
    except MalformedError:
        assert found_in(cache, lines) is None
        return
    for _ in range(2):
        assert found_in(cache, lines) in (None, (seen.server, seen.build))


def check(data: bytes) -> None:
    """Nothing raises; what is found is bounded, and its name is the one that a command may give."""
    helo, source_ip, *received = [*data.decode("utf-8", "replace").split(SEPARATOR), "", ""]
    try:
        found = detect(received, helo, source_ip)
    except MalformedError as error:
        check_reason(error, 200)
        # Too long a name is seen before anything is decided; an address is one by then.
        assert canonical_address(source_ip) is None or _is_refused(received, helo)
        return
    check_server(received, helo)
    assert found == detect(received, helo, source_ip)
    assert 0 < len(found.server) <= 255
    if canonical_address(source_ip) is not None:
        assert found.server == canonical_server(found.server)
    assert found.by_address is None or found.by_address == canonical_address(found.by_address)
    if found.build is not None:
        assert parse_build(str(found.build)) == found.build
    if found.position is None:
        assert found.received is None
        assert found.build is None
    else:
        assert found.position < MAX_LINES
        assert found.received == received[found.position][:MAX_LINE_CHARS]
    for lines in (received, received[::-1]):
        _check_cache(lines, helo, source_ip)
    # A run ends at the latest with the first line that did not come from its own host; what else stands below is free.
    last = next((at for at, line in enumerate(received) if not parse_received(line).is_from_itself), None)
    if last is not None:
        for strange in ([], received[::-1], [LINE.replace("2507.39", "2507.9999")]):
            assert detect([*received[: last + 1], *strange], helo, source_ip) == found
    for line in received[:8]:
        parts = parse_received(line)
        assert parts == parse_received(line[:MAX_LINE_CHARS])
        assert parts.by_host is None or (parts.by_host and len(parts.by_host.split()) == 1)
    if received and parse_received(received[0]).by_host is not None:
        assert found.identity is Identity.STAMP
    else:
        assert found.identity is not Identity.STAMP
