"""`scripts/bench report`: the read model, the way from the feed to the page, and the page on a slow line."""

from __future__ import annotations

import argparse
import json
import shlex
import time
from pathlib import Path
from typing import Any, Final

from benchmarks import feed_to_page, read_model, slow_page
from benchmarks.environment import COMMITTED_DIR, REPOSITORY, machine

SERVERS_COUNT: Final = 200_000
TABLES, FEED, PAGE = "tables", "feed", "page"
PARTS: Final = (TABLES, FEED, PAGE)


def _parts(text: str) -> tuple[str, ...]:
    found = tuple(text.split(","))
    if not set(found) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: must be some of {', '.join(PARTS)}")
    return found


def measure(parts: tuple[str, ...], servers: int, connections: int) -> dict[str, Any]:
    """Some parts, each under its name."""
    if PAGE in parts:
        slow_page.check_tools()  # what was measured before would be lost
    found: dict[str, Any] = {}
    if TABLES in parts:
        found |= read_model.measure_compiled(servers)
    if FEED in parts:
        read_model.say("connections on their way to the page")
        found[FEED] = feed_to_page.measure(connections)
    if PAGE in parts:
        read_model.say("the page on slow 4G")
        found[PAGE] = slow_page.measure()
    return found


def document(about: dict[str, Any], found: dict[str, Any]) -> str:
    """The report."""
    lines = [
        f"# The report's read model, {about['date']}",
        "",
        f"`{about['command']}` on {json.dumps(about['machine'])}.",
        "",
    ]
    if "decoded" in found:
        lines += read_model.lines_of(found, about["servers"])
    if FEED in found:
        lines += feed_to_page.lines_of(found[FEED])
    if PAGE in found:
        lines += slow_page.lines_of(found[PAGE])
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Measure, write the report and print it."""
    parser = argparse.ArgumentParser(prog="scripts/bench report", description=__doc__)
    parser.add_argument("--only", type=_parts, default=PARTS, metavar="PART", help="some of tables,feed,page (all)")
    parser.add_argument("--servers", type=int, default=SERVERS_COUNT, metavar="N", help="servers (%(default)s)")
    parser.add_argument(
        "--connections", type=int, default=feed_to_page.CONNECTIONS, metavar="N", help="on the feed (%(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes")
    arguments = parser.parse_args(argv)
    about = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "command": shlex.join(["scripts/bench", "report", *argv]),
        "servers": arguments.servers,
        "machine": machine(),
    }
    found = measure(arguments.only, arguments.servers, arguments.connections)
    out = arguments.out or (REPOSITORY / "results" / "bench" if argv else COMMITTED_DIR)
    out.mkdir(parents=True, exist_ok=True)
    text = document(about, found)
    (out / f"report-{about['date']}.md").write_text(text, encoding="utf-8")
    (out / f"report-{about['date']}.json").write_text(json.dumps(about | found, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0
