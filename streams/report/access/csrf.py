"""Requests that another site makes a browser send: refused, by what the browser says of them and by a token."""

from __future__ import annotations

import hmac
from typing import Final

from litestar.enums import RequestEncodingType
from litestar.exceptions import PermissionDeniedException

from streams.report.access.site import AnyRequest
from streams.visible import visible

HEADER: Final = "x-csrf-token"
FIELD: Final = "csrf_token"
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


async def check_own_request(request: AnyRequest, origin: str, expected_token: str) -> None:
    """Refuse a request that does not come from a page of our own.

    Args:
        request: one that changes something.
        origin: ours.
        expected_token: what the page put into its form, or its header.

    Raises:
        PermissionDeniedException: it comes from elsewhere, or without the token.
    """
    check_own_origin(request, origin)
    given = request.headers.get(HEADER)
    if given is None and request.content_type[0] == RequestEncodingType.URL_ENCODED:
        field = (await request.form()).get(FIELD)
        given = field if isinstance(field, str) else None
    if given is None or not hmac.compare_digest(given.encode(), expected_token.encode()):
        raise PermissionDeniedException(f"{FIELD}: must be the token of this session: load the page again")


def check_own_origin(request: AnyRequest, origin: str) -> None:
    """Refuse what the browser says another site has made it send; other programs say nothing of this.

    Raises:
        PermissionDeniedException: it comes from elsewhere.
    """
    fetched_by, sent_by = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetched_by not in (None, "same-origin"):
        raise PermissionDeniedException(f"Sec-Fetch-Site: {visible(repr(fetched_by[:40]))}: must be same-origin")
    # A page whose policy is to send no referrer has a browser say null, which it says of sandboxed strangers too.
    is_vouched_for = sent_by == "null" and fetched_by == "same-origin"
    if sent_by not in (None, origin) and not is_vouched_for:
        raise PermissionDeniedException(f"Origin: {visible(repr(sent_by[:80]))}: must be {origin}")
