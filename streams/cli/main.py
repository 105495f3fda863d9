"""`tes`: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import metadata

from streams.cli import (
    backup,
    dlq,
    inspect,
    kafka,
    policy,
    repartition,
    replay,
    servers,
    service,
    simulate,
    state,
    table,
    whatif,
)
from streams.cli import commands as admin_commands

_EXAMPLES = """examples:
  tes inspect message.eml
  tes inspect --policy strict-critical --at 2026-10-31 --json - < headers.txt
  tes simulate --feed examples/feed.jsonl --until 2026-12-31 --out results && tes table results --limit 20
  tes replay --feed examples/feed.jsonl --until 2026-12-31 --out replayed
  tes servers list --tenant contoso; tes servers show mx1.contoso.com --tenant contoso
  tes pause create --tenant contoso --days 14; tes pause cancel --tenant contoso
  tes policy check floor.yaml && tes whatif --policy floor.yaml && tes policy publish floor.yaml
  tes dlq list --since 2026-11-01; tes dlq replay connections/2/15
  tes state get contoso mx1.contoso.com; tes state export > states.jsonl
  tes backup create /backups/today; tes backup restore /backups/today
  tes repartition --partitions 24 --to-prefix g2.
  tes kafka start; TES_KAFKA_BOOTSTRAP=127.0.0.1:PORT tes topics create; tes worker

data goes to stdout, everything else to stderr
exit codes: 0 done, 1 failed, 2 wrong usage or unreadable input, 3 a command refused,
70 a worker that had to stop, 130 Ctrl-C"""


EXIT_PIPE = 141
"""Exit code when the output's reader went away, as a shell gives it for SIGPIPE."""


def build_parser() -> tuple[argparse.ArgumentParser, set[str]]:
    """The parser, and the names of all commands."""
    parser = argparse.ArgumentParser(prog="tes", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"tes {metadata.version('tes')}")
    commands = parser.add_subparsers(dest="command", required=True)
    deciding = (inspect, simulate, replay, table, servers, policy, whatif, admin_commands)
    operating = (dlq, state, backup, repartition, service, kafka)
    for module in (*deciding, *operating):
        module.add_parser(commands)
    return parser, set(commands.choices)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = build_parser()[0].parse_args(argv)
    try:
        exit_code: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be written to it any more, not even at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
