"""The reply lines of SMTP: a template for each action, and what fills it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Final

from streams.domain.exchange.build import Build
from streams.domain.policy.ladder import Action
from streams.domain.policy.rulebook import Service
from streams.domain.time import LATEST_MS, iso

MAX_REPLY_BYTES: Final = 510
"""RFC 5321, 4.5.3.1.5: a reply line has 512 octets with its CRLF."""
_MINUTES: Final = "{minutes}"
_NEXT: Final = "{next}"
_NO_NAME = re.compile(r"[^A-Za-z0-9._:-]")
_CUT: Final = "..."
_MIN_NAME_CHARS: Final = 16
"""A name cut to less than this names no server."""
MAX_NAME_CHARS: Final = 64
"""Of a service whose name would leave no room for the first sentence."""
_MAX_MINUTES: Final = 60


def fill_reply(template: str, minutes: int, next_stage_at: int | None) -> str:
    """A verdict's template as a reply line: `minutes` of each hour, and the next stage's date unless there is none."""
    following = "" if next_stage_at is None else f" Next stage {iso(next_stage_at)}."
    return template.replace(_MINUTES, str(minutes)).replace(_NEXT, following)


def reply_template(action: Action, service: Service, server: str, build: Build | None, required: Build | None) -> str:
    """The edge's reply line for `action`, with `{minutes}` and `{next}` where `fill_reply` puts a stage's facts.

    The code and the first sentence are those of Exchange Online (`450 4.7.230`, `550 5.7.230`). However it is filled in
    it has at most `MAX_REPLY_BYTES`: a long server name is cut and the cut marked. Where the service's own name and
    link leave no room, first the server goes, then the date, then the link.
    """
    code, done = ("550 5.7.230", "blocked") if action is Action.BLOCK else ("450 4.7.230", "throttled")
    first = (
        f"{code} Connecting Exchange server version is out-of-date; "
        f"connection to {_own_text(service.name)} {done} for {_MINUTES} mins/hr."
    )
    runs = f"runs {build or 'an unknown build'}, "
    runs += f"{required} or newer is required." if required else "which is no longer accepted."
    link, name = _own_text(service.link), _shown_name(server)
    room = MAX_REPLY_BYTES - _longest(f"{first}  {runs}{_NEXT} {link}")
    if room >= min(len(name), _MIN_NAME_CHARS):
        name = name if len(name) <= room else name[: room - len(_CUT)] + _CUT
        return f"{first} {name} {runs}{_NEXT} {link}"
    for shorter in (f"{first}{_NEXT} {link}", f"{first} {link}", first):
        if _longest(shorter) <= MAX_REPLY_BYTES:
            return shorter
    return reply_template(action, replace(service, name=service.name[:MAX_NAME_CHARS]), server, build, required)


_MINUTES_GROW: Final = len(str(_MAX_MINUTES)) - len(_MINUTES)
_NEXT_GROWS: Final = len(fill_reply(_NEXT, _MAX_MINUTES, LATEST_MS)) - len(_NEXT)


def _longest(template: str) -> int:
    """The characters of the longest line that a template can become."""
    grown = template.count(_MINUTES) * _MINUTES_GROW + template.count(_NEXT) * _NEXT_GROWS
    return len(template) + grown


@lru_cache(16)  # a service has one name and one link
def _own_text(text: str) -> str:
    """A text of the settings as it may stand in a template: printable ASCII without placeholders."""
    return "".join(char if " " <= char <= "~" and char not in "{}" else "?" for char in text)


def _shown_name(server: str) -> str:
    """The host name or the address of a server, without the prefix that its key has.

    The name is the sender's claim: nothing that no host name and no address has may reach the line.
    """
    while server.startswith(("helo:", "ip:")):
        server = server.partition(":")[2]
    return _NO_NAME.sub("?", server) or "this server"


def _longest_link() -> int:
    """The characters that the longest reply leaves for the service's link, with as much of a server as is of use."""
    build, server = Build(15, 2, 99_999, 9_999), "x" * _MIN_NAME_CHARS
    replies = [reply_template(action, Service("x" * MAX_NAME_CHARS, ""), server, build, build) for action in Action]
    return MAX_REPLY_BYTES - max(_longest(reply) for reply in replies)


MAX_LINK_CHARS: Final = _longest_link()
"""So that every reply, with a name as long as it may be, stays within SMTP's 510 bytes with the link whole."""
_TEXT = re.compile(r"[!-z|~](?:[ -z|~]*[!-z|~])?")
_LINK = re.compile(r"(?:https?://|mailto:)[!-z|~]+")


def service_faults(service: Service) -> Iterator[tuple[str, str]]:
    """What is wrong with a service's texts: field and rule. They are part of one line of SMTP and of templates."""
    if not _TEXT.fullmatch(service.name) or len(service.name) > MAX_NAME_CHARS:
        yield "name", f"must be 1 to {MAX_NAME_CHARS} printable ASCII characters in one line, without braces"
    if not _LINK.fullmatch(service.link) or len(service.link) > MAX_LINK_CHARS:
        rule = "must be an http, https or mailto address of printable ASCII characters, without blanks and braces"
        yield "link", f"{rule}, at most {MAX_LINK_CHARS} long"
