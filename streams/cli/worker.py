"""`tes worker`: the service itself."""

from __future__ import annotations

import argparse

from streams.cli.checked_settings import checked
from streams.worker.app import run_worker


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of the command."""
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="with what Faust and aiokafka log, in a log for people too"
    )
    parser.set_defaults(run=_worker)


def _worker(arguments: argparse.Namespace) -> int:
    settings = checked()
    return 2 if settings is None else run_worker(settings, is_verbose=arguments.verbose)
