"""`tes`: the command line."""

from __future__ import annotations

import argparse
import json
import sys
from email.parser import HeaderParser
from pathlib import Path

from streams.adapters.catalogue_files import shipped_catalogue
from streams.domain.headers import detect

_EXAMPLES = """examples:
  tes inspect message.eml
  tes inspect --json - < headers.txt

exit codes: 0 done, 2 wrong usage or unreadable input"""


def _received_lines(text: str) -> list[str]:
    """The `Received` values of a message, of its header alone, or of bare `Received:` lines."""
    return HeaderParser().parsestr(text.lstrip(), headersonly=True).get_all("Received") or []


def _inspect(source: str, as_json: bool) -> int:
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        print(f"tes inspect: {source}: {error.strerror}", file=sys.stderr)
        return 2
    lines = _received_lines(raw.decode("utf-8", "replace"))
    if not lines:
        print(f"tes inspect: {source}: no Received line found", file=sys.stderr)
        return 2
    catalogue = shipped_catalogue()
    found = detect(lines, helo="", source_ip="unknown")
    build = catalogue.canonical(found.build) if found.build else None
    row = {
        "server": found.server,
        "identity": found.identity.value,
        "origin": found.origin.value,
        "product": build.product.value if build and build.product else None,
        "build": str(build) if build else None,
        "build_name": catalogue.name(build) if build else None,
        "missing_cves": [fix.cve for fix in catalogue.missing_fixes(build)] if build else [],
        "evidence": {"received": found.received, "position": found.position, "protocol": found.protocol},
    }
    if as_json:
        print(json.dumps(row, ensure_ascii=False))
        return 0
    for key, value in row.items():
        print(f"{key:13} {value if value is not None else '-'}")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="tes", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    inspect = commands.add_parser("inspect", help="say which Exchange server and build a message came from")
    inspect.add_argument("file", nargs="?", default="-", help="message, header or Received lines; - is stdin")
    inspect.add_argument("--json", action="store_true", help="one JSON object on stdout")
    arguments = parser.parse_args(argv)
    return _inspect(arguments.file, arguments.json)


if __name__ == "__main__":
    sys.exit(main())
