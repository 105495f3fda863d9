"""Where browsers find API and page: the origin, cookies, and which paths one may be sent to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlsplit

from litestar import Request
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException

from streams.settings.base import is_loopback
from streams.visible import visible

SIGN_IN: Final = "/sign-in"
SIGN_OUT: Final = "/sign-out"
CALLBACK: Final = "/sign-in/callback"
HOME: Final = "/"
SESSION: Final = "session"
"""The cookie of somebody who signed in."""
ATTEMPT: Final = "sign-in"
"""The cookie of somebody who is about to."""
IS_OPEN: Final = "exclude_from_auth"
"""The name in `opt` that says whether a route is for everybody, whoever they are."""
OPEN: Final = {IS_OPEN: True}
"""`opt` of a route for everybody."""
MOST_PATH_CHARS: Final = 1_000
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?")
_USUAL_PORTS: Final[Mapping[str, str]] = {"https": ":443", "http": ":80"}

AnyRequest = Request[Any, Any, Any]


def local_path(text: str | None) -> str:
    """A path of this site that a browser may be sent to; `HOME` for all else, so that nobody is sent elsewhere."""
    if text is None or len(text) > MOST_PATH_CHARS or not _PATH.fullmatch(text):
        return HOME
    path = text.partition("?")[0].partition("#")[0]
    return HOME if path.startswith((SIGN_IN, SIGN_OUT)) else text


class Site:
    """The site, as browsers see it."""

    def __init__(self, public_url: str) -> None:
        """Take the address; empty: loopback, by whatever name and port it is called there.

        `is_secure` is whether browsers come by HTTPS, whatever a proxy before it speaks to this process.
        """
        self._origin = _origin(public_url) if public_url else ""
        self.is_secure = self._origin.startswith("https:")

    def origin_of(self, request: AnyRequest) -> str:
        """The origin that a request of ours comes from.

        Raises:
            HTTPException: the site is on loopback only, and the request is for another host; a name that a stranger
                points at this machine would let the stranger's page in.
        """
        if self._origin:
            return self._origin
        host = request.headers.get("host", "")
        found = _HOST.fullmatch(host)
        if found is None or not is_loopback(found[1].strip("[]").lower()):
            raise HTTPException(
                f"host: {visible(repr(host[:80]))}: must be a name of this machine, such as 127.0.0.1, or "
                "TES_REPORT_PUBLIC_URL must be set",
                status_code=HTTPStatus.MISDIRECTED_REQUEST,
            )
        return f"http://{host.lower()}".removesuffix(_USUAL_PORTS["http"])

    def cookie_of(self, request: AnyRequest, name: str) -> str:
        """The value of a cookie of ours; empty where there is none."""
        return request.cookies.get(self._cookie_name(name), "")

    def cookie(self, name: str, value: str, seconds: int | None = None) -> Cookie:
        """A cookie that no script reads and no other site sends along; without `seconds` it goes with the browser."""
        return Cookie(
            self._cookie_name(name), value=value, max_age=seconds, secure=self.is_secure, httponly=True, samesite="lax"
        )

    def no_cookie(self, name: str) -> Cookie:
        """Makes a browser forget a cookie."""
        return self.cookie(name, "", 0)

    def _cookie_name(self, name: str) -> str:
        """With `__Host-` no other host, and no page without HTTPS, can have set it (RFC 6265bis)."""
        return f"__Host-tes-{name}" if self.is_secure else f"tes-{name}"


def _origin(url: str) -> str:
    """An origin as browsers write it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.lower()}".removesuffix(_USUAL_PORTS[parts.scheme])
