"""What the claims of a checked token make of their owner: who calls, for which tenant, in which role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from streams.domain.validation import MalformedError, check_tenant
from streams.report.access.callers import AccessRole, Caller
from streams.visible import visible

MOST_SUBJECT_CHARS: Final = 255
"""OpenID Connect Core 1.0, section 2."""
MOST_NAME_CHARS: Final = 120
"""It is shown, and stands in audit records."""
_SHOWN_CHARS: Final = 80
_HIGHEST_FIRST: Final = (AccessRole.OPERATOR, AccessRole.TENANT_ADMIN, AccessRole.TENANT_READER)


class NoAccessError(Exception):
    """Somebody who is known may do nothing here; the message names the claim, its value and the rule."""


def caller_of(claims: Mapping[str, Any], tenant_claim: str, role_claim: str) -> Caller:
    """Who calls, by the claims of a token that was checked.

    Raises:
        NoAccessError: the claims give no subject, no role, or no tenant to a role that needs one.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MOST_SUBJECT_CHARS:
        raise NoAccessError(f"sub: {_shown(subject)}: must be a text of 1 to {MOST_SUBJECT_CHARS} characters")
    role = _role_of(find_claim(claims, role_claim), role_claim)
    tenant = None if role is AccessRole.OPERATOR else _tenant_of(find_claim(claims, tenant_claim), tenant_claim)
    return Caller(f"{claims.get('iss')} {subject}", _name_of(claims, subject), role, tenant)


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this very name; else, where the name has dots, what is found by its parts; None for nothing."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _role_of(value: Any, claim: str) -> AccessRole:
    """The highest of the roles; a text is one role, since the name of a group may have blanks and commas in it."""
    given = value if isinstance(value, list) else [value]
    for role in _HIGHEST_FIRST:
        if any(isinstance(name, str) and name == role for name in given):
            return role
    raise NoAccessError(f"{claim}: {_shown(value)}: must name one of {', '.join(AccessRole)}")


def _tenant_of(value: Any, claim: str) -> str:
    if not isinstance(value, str):
        raise NoAccessError(f"{claim}: {_shown(value)}: must be the id of one tenant")
    try:
        check_tenant(value)
    except MalformedError:
        raise NoAccessError(f"{claim}: {_shown(value)}: must be the id of a tenant") from None
    return value


def _name_of(claims: Mapping[str, Any], subject: str) -> str:
    for value in (*_names(claims), subject):
        name = visible(" ".join(value[: 2 * MOST_NAME_CHARS].split()))[:MOST_NAME_CHARS].strip()
        if name:
            return name
    return "(no name)"


def _names(claims: Mapping[str, Any]) -> Iterator[str]:
    """Names that people know; an address that the provider has not verified may be somebody else's."""
    name, address = claims.get("preferred_username"), claims.get("email")
    if isinstance(name, str):
        yield name
    if isinstance(address, str) and claims.get("email_verified", True) is True:
        yield address


def _shown(value: Any) -> str:
    return visible(repr(value))[:_SHOWN_CHARS]
