"""Lines of the log: as text for people, as one JSON object per line for machines. Secrets come out of neither."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from textwrap import indent
from typing import IO, Final

from streams.log_events import OTHER
from streams.visible import visible, visible_lines

FORMATS: Final = ("text", "json")
REDACTED: Final = "(redacted)"


def log_timestamp(record: logging.LogRecord) -> str:
    """When a line was logged, ISO 8601 in UTC with milliseconds."""
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"


class _Redacting(logging.Formatter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        # The longest first: one may be part of another.
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def redacted(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text


class TextFormatter(_Redacting):
    """Moment, level, logger, sentence; a traceback below, indented: what begins at the margin is a line of the log."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        text = f"{log_timestamp(record)} {record.levelname} {record.name}: {visible(record.getMessage().rstrip())}"
        if record.exc_info:
            text += "\n" + indent(visible_lines(self.formatException(record.exc_info)), "  ")
        return self.redacted(text)


class JsonFormatter(_Redacting):
    """`ts`, `level`, `logger`, `event`, `message`, then the event's fields, then `error` where there is a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, object] = {
            "ts": log_timestamp(record),
            "level": record.levelname,
            "logger": record.name,
            "event": getattr(record, "event", OTHER),
            "message": self.redacted(record.getMessage().rstrip()),
        }
        for name, value in getattr(record, "fields", {}).items():
            line[name if name not in line else f"field_{name}"] = self._plain(value)
        if record.exc_info:
            line["error"] = self.redacted(self.formatException(record.exc_info))
        return json.dumps(line)

    def _plain(self, value: object) -> object:
        if isinstance(value, list):
            return [self._plain(item) for item in value]
        return value if isinstance(value, int | float | None) else self.redacted(str(value))


class _EventCounter(logging.Handler):
    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__()
        self._count = count

    def emit(self, record: logging.LogRecord) -> None:
        name = getattr(record, "event", None)
        if name is not None:
            self._count(name)


def is_worth_reading(record: logging.LogRecord) -> bool:
    """Whether a line is one of the product, or warns: what libraries say of their own coming and going is not."""
    if record.levelno >= logging.WARNING:
        return True
    is_own = record.name.partition(".")[0] == "streams"
    # Services of Faust that are classes of ours log under our names.
    return is_own and not record.getMessage().startswith("[^")


def configure_logs(
    form: str,
    secrets: Sequence[str],
    count: Callable[[str], None],
    stream: IO[str] | None = None,
    *,
    shows_libraries: bool = True,
) -> None:
    """Write the lines of the process.

    Args:
        form: one of `FORMATS`; JSON has the lines of libraries whatever is said of them.
        secrets: what is replaced in every line.
        count: gets the name of each event.
        stream: where to write (default: standard error).
        shows_libraries: write what libraries say that is no warning too.
    """
    writing = logging.StreamHandler(stream or sys.stderr)
    writing.setFormatter(JsonFormatter(secrets) if form == "json" else TextFormatter(secrets))
    if form != "json" and not shows_libraries:
        writing.addFilter(is_worth_reading)
    root = logging.getLogger()
    root.handlers[:] = [writing, _EventCounter(count)]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
