"""The protocols that Exchange and the SMTP service of Windows write behind `with`."""

from __future__ import annotations

import re

SMTP = "Microsoft SMTP Server"
MAPI = "mapi"
KEYWORDS = re.IGNORECASE | re.ASCII
"""How words of a line are looked for: in either case of ASCII. Beyond it a long s or an I with a dot would pass for the
plain letter, and in lower case neither is that."""
_SMTPSVC = "Microsoft SMTPSVC"
_HTTP_DAV = "Microsoft Exchange Server HTTP-DAV"
_IMS = "Internet Mail Service"
_IMC = "Microsoft Exchange (IMC)"
_PROTOCOLS = {name.lower(): name for name in (SMTP, _SMTPSVC, MAPI, "ShadowRedundancy", _HTTP_DAV, _IMS)}
_PROTOCOL = re.compile(rf"(?:{'|'.join(_PROTOCOLS)})(?![^\s(,;])", KEYWORDS)
# Exchange 4.0 to 5.5 name themselves in the comment: `with SMTP (Microsoft Exchange Internet Mail Service Version 5.5`.
_OLD_PROTOCOL = re.compile(r"(?:E?SMTP|Microsoft Exchange)(?= |$)", KEYWORDS)
_OLD_COMMENT = re.compile(r"(?:Microsoft Exchange )?(Internet Mail (?:Service|Connector)|IMC)(?: |$)", KEYWORDS)
WITHOUT_BUILD = {_SMTPSVC: "SMTPSVC", _HTTP_DAV: "HTTP_DAV", _IMS: "IMS", _IMC: "IMS"}


def protocol_at(
    clauses: str, with_: re.Match[str] | None, comments: list[tuple[int, str]] | None
) -> tuple[str | None, int]:
    """The protocol behind `with`, by its name in `Detection`, and where it ends."""
    if with_ is None:
        return None, 0
    begin = with_.end() + 1
    found = _PROTOCOL.match(clauses, begin)
    if found is not None:
        return _PROTOCOLS[found[0].lower()], found.end()
    found = _OLD_PROTOCOL.match(clauses, begin)
    for at, content in comments or ():
        old = _OLD_COMMENT.match(content) if found is not None and at == found.end() else None
        if old is not None:
            return _IMS if old[1].lower().endswith("service") else _IMC, at
    return None, 0
