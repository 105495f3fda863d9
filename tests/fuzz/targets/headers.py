"""Detection over any lines, greeting and address."""

from __future__ import annotations

from streams.agents.top_lines import TopLines
from streams.domain.build import parse_build
from streams.domain.headers import MAX_LINE_CHARS, MAX_LINES, Identity, detect, parse_received
from tests.top_lines import found_in

SEPARATOR = "\x1e"
"""Between greeting, address and each line; every other control character can stand inside of one."""


def check(data: bytes) -> None:
    """Nothing raises; what is found is bounded, and its name is the one that a command may give."""
    helo, source_ip, *received = [*data.decode("utf-8", "replace").split(SEPARATOR), "", ""]
    found = detect(received, helo, source_ip)
    assert found == detect(received, helo, source_ip)
    assert 0 < len(found.server) <= 255
    assert found.server == found.server.lower()
    if found.build is not None:
        assert parse_build(str(found.build)) == found.build
    if found.position is None:
        assert found.received is None
        assert found.build is None
    else:
        assert found.position < MAX_LINES
        assert found.received == received[found.position][:MAX_LINE_CHARS]
    for lines in (received, received[::-1]):
        seen, cache = detect(lines, helo, source_ip), TopLines(50)
        for _ in range(2):
            assert found_in(cache, lines) in (None, (seen.server, seen.build))
    for line in received[:8]:
        parts = parse_received(line)
        assert parts == parse_received(line[:MAX_LINE_CHARS])
        assert parts.by_host is None or (parts.by_host and len(parts.by_host.split()) == 1)
    if received and parse_received(received[0]).by_host is not None:
        assert found.identity is Identity.STAMP
    else:
        assert found.identity is not Identity.STAMP
