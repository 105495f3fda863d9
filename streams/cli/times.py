"""Times as somebody typed them: what refuses one quotes it so, and not as it is computed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from streams.domain.time import iso
from streams.wire.policy import from_millis
from streams.wire.records import parse_day_or_moment


@dataclass(frozen=True, slots=True)
class TypedTime:
    """A time in UTC milliseconds, the option or field that it was typed for, and the text."""

    name: str
    text: str
    at: int

    @classmethod
    def parse(cls, name: str, text: str) -> Self:
        """Read `2026-10-31`, its first moment, or an ISO 8601 moment.

        Raises:
            MalformedError: it is neither; the message quotes the text.
        """
        return cls(name, text, parse_day_or_moment(name, text))

    def quote(self, message: str) -> str:
        """The message of a rule with this time as it was typed, in place of how the rule shows it."""
        field = self.name.lstrip("-").replace("-", "_")
        moment = from_millis(self.at)
        for shown in (iso(self.at), moment.isoformat(), str(self.at)):
            message = message.replace(f"{field}: {shown}: ", f"{self.name}: {self.text}: ")
        for shown in (iso(self.at), moment.isoformat(), str(moment)):
            message = message.replace(shown, self.text)
        return message.replace("must be a timestamp from 2000 to 2099, in milliseconds", "must be from 2000 to 2099")
