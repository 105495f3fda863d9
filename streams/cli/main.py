"""`tes`: the command line."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext, redirect_stderr, redirect_stdout, suppress
from importlib import import_module, metadata
from pathlib import Path
from textwrap import indent
from typing import Final

from streams.cli.messages import print_error
from streams.cli.parser import Parser
from streams.cli.terminal import ClosedOutput, OutputError, VisibleStream, discard
from streams.garbage import collect_seldom
from streams.kafka.patience import told_soon

_EXAMPLES = """examples:
  tes inspect message.eml
  tes inspect --policy strict-critical --at 2026-10-31 --json - < headers.txt
  tes simulate --feed examples/feed.jsonl --until 2026-12-31 --out out && tes servers list --results out --limit 20
  tes replay --feed examples/feed.jsonl --until 2026-12-31 --out replayed
  tes servers list --tenant contoso; tes servers show mx1.contoso.com --tenant contoso
  tes pause create --tenant contoso --days 14; tes pause cancel --tenant contoso
  tes policy check floor.yaml && tes whatif --policy floor.yaml && tes policy publish floor.yaml
  tes catalogue check data && tes whatif --catalogue data && tes catalogue publish data --effective-at 2026-12-09
  tes dlq list --since 2026-11-01; tes dlq redrive connections/2/15
  tes state get contoso mx1.contoso.com; tes state export > states.jsonl
  tes backup create /backups/today; tes backup restore /backups/today
  tes repartition --partitions 24 --to-prefix g2.
  tes emit connections.jsonl; tes verdicts tail --tenant contoso; tes top
  tes edge decide --ip 192.0.2.7 --helo mx1.contoso.com --tenant contoso --file message.eml
  tes connectors check connectors.yaml && tes connectors publish connectors.yaml; tes edge
  tes doctor
  TES_SCHEMA_REGISTRY_URL=https://registry.example.com tes schemas check
  tes kafka start; TES_KAFKA_BOOTSTRAP=127.0.0.1:PORT tes topics create; tes worker

data goes to stdout, everything else to stderr
exit codes: 0 done, 1 failed, 2 wrong usage or unreadable input, 3 a command refused,
70 a worker or an edge that failed, 130 interrupted (Ctrl-C)"""


EXIT_PIPE = 141
"""Exit code when the reader of the output is gone, as a shell reports it for SIGPIPE."""


EXIT_FAILED = 1
"""Exit code when output cannot be written, or the product itself is at fault."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C."""


COMMANDS: Final[Mapping[str, str]] = {
    "inspect": "identify the Exchange server and build a message came from",
    "simulate": "run a feed through the rules in one process, without Kafka",
    "replay": "run a feed through Kafka and real workers",
    "table": "old name of `tes servers list --results`",
    "servers": "the report: every server and its status",
    "policy": "check, publish and compare policies",
    "catalogue": "check, publish and compare the builds and vulnerabilities that servers are judged by",
    "top": "what the service does now: rates, lag, signs of life, workers",
    "verdicts": "the verdicts as workers write them",
    "whatif": "predict which servers another policy or catalogue would change",
    "pause": "pause enforcement for days of the yearly quota",
    "exception": "exempt a server for a long time, outside the quota",
    "override": "judge a server as another build if its stamp is wrong",
    "dlq": "dead letters: records that could not be processed",
    "state": "the state stored in the changelog",
    "backup": "back up all topics of the product to files, and restore them",
    "repartition": "move a stopped service to new topics with another partition count",
    "worker": "run a worker; settings come from the environment",
    "edge": "run the edge beside an MTA, or explain its decision; settings come from the environment",
    "report": "keep what administrators see in a database; settings come from the environment",
    "notify": "tell people what happens, by mail, webhooks and chat; settings come from the environment",
    "connectors": "whose mail comes in at the edges: check, publish and list connectors",
    "emit": "send connections to their topic, for trials",
    "topics": "the Kafka topics of the product",
    "doctor": "examine a running installation, and say what is wrong",
    "schemas": "check and register this version's schemas at a schema registry",
    "config": "show or validate the settings",
    "kafka": "start or stop a Kafka broker on this machine",
    "completion": "print the completion script of a shell",
}
"""What the help says of each command. Its module in `streams.cli` has its name, and describes its arguments."""
_PROCESSES: Final = ("worker", "edge", "report", "notify")
"""Commands that wait for a broker that is busy or restarts."""
_MOVED: Final[Mapping[str, tuple[str, str]]] = {"table": ("servers", "add_table_arguments")}
"""Old names of commands: module and function."""


def _details_of(command: str) -> Callable[[argparse.ArgumentParser], None]:
    """What adds a command's arguments; its module is imported when it is called."""

    def add(parser: argparse.ArgumentParser) -> None:
        module, function = _MOVED.get(command, (command, "add_arguments"))
        getattr(import_module(f"streams.cli.{module}"), function)(parser)

    return add


def build_parser(*, is_whole: bool = True) -> tuple[argparse.ArgumentParser, set[str]]:
    """The parser, and the names of all commands; unless `is_whole`, it learns a command's arguments once it runs."""
    parser = Parser(prog="tes", epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"tes {metadata.version('tes')}")
    parser.set_defaults(run=lambda _: parser.print_help())
    commands = parser.add_subparsers(dest="command", title="commands", metavar="COMMAND", parser_class=Parser)
    for name, text in COMMANDS.items():
        inner = commands.add_parser(name, help=text)
        inner.add_details = _details_of(name)
        if is_whole:
            inner.describe()
    return parser, set(commands.choices)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    output = VisibleStream(sys.stdout or ClosedOutput(), is_output=True)
    with ExitStack() as stack:
        messages = sys.stderr or stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(output))
        stack.enter_context(redirect_stderr(VisibleStream(messages, is_output=False)))
        try:
            return _run(argv)
        except OutputError as error:
            return _end_output(output, error)


def _run(argv: list[str] | None) -> int:
    collect_seldom()
    try:
        arguments = build_parser(is_whole=False)[0].parse_args(argv)
        with nullcontext() if arguments.command in _PROCESSES else told_soon():
            exit_code: int = arguments.run(arguments) or 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OutputError:
        raise
    except Exception:  # noqa: BLE001 - the last line of defence of the command line
        # The error may quote anything: what begins at the margin is the product's own.
        print("tes: internal error", file=sys.stderr)
        print(indent(traceback.format_exc(), "  "), end="", file=sys.stderr)
        return EXIT_FAILED
    finally:
        sys.stdout.flush()
    return exit_code


def _end_output(output: VisibleStream, error: OutputError) -> int:
    """The exit code when output could not be written, so that the end of the process does not try again."""
    with suppress(OSError, ValueError):  # a stream of a test has no number
        discard(output)
    if isinstance(error.cause, BrokenPipeError):
        return EXIT_PIPE  # whoever read the output has seen enough
    print_error("tes", error)
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
