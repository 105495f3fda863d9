"""Sign-in for the demo: anybody on this machine is whom they say they are.

It exists only while the API listens on loopback, no provider is set, and there is no public address; the settings
refuse all else. A request must name this machine as its host, and come from it. Its sessions end with the process.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from html import escape
from http import HTTPStatus
from typing import Final

from litestar import Response
from litestar.exceptions import PermissionDeniedException

from streams.domain.validation import MalformedError, check_tenant
from streams.report.access.callers import AccessRole, Caller
from streams.report.access.csrf import FIELD, check_own_request
from streams.report.access.pages import answer_page, redirect
from streams.report.access.seals import Seal
from streams.report.access.sessions import Sessions
from streams.report.access.site import ATTEMPT, SESSION, SIGN_IN, AnyRequest, Site, local_path
from streams.settings.base import is_loopback

FORM_SECONDS: Final = 3_600
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""What a proxy adds: whoever it serves is not on this machine."""


class LocalSignIn:
    """Signs browsers of this machine in, as whomever they choose."""

    def __init__(self, sessions: Sessions, site: Site, seal: Seal, clock_ms: Callable[[], int]) -> None:
        """Nobody has signed in; `seal` seals forms, `clock_ms` gives UTC milliseconds."""
        self._sessions, self._site, self._seal, self._clock_ms = sessions, site, seal, clock_ms

    async def begin(self, request: AnyRequest) -> Response[str]:
        """Show the form."""
        self._require_this_machine(request)
        return self._form(local_path(request.query_params.get("next")))

    async def finish(self, request: AnyRequest) -> Response[str]:
        """Begin a session as the form says."""
        origin = self._require_this_machine(request)
        await check_own_request(request, origin, self._form_token(request))
        form = await request.form()
        path, tenant = local_path(str(form.get("next", ""))), str(form.get("tenant", "")).strip()
        try:
            role = AccessRole(str(form.get("role", "")))
            if role is not AccessRole.OPERATOR:
                check_tenant(tenant)
        except MalformedError as error:
            return self._form(path, str(error), HTTPStatus.BAD_REQUEST)
        except ValueError:
            return self._form(path, f"role: must be one of {', '.join(AccessRole)}", HTTPStatus.BAD_REQUEST)
        owner = None if role is AccessRole.OPERATOR else tenant
        caller = Caller(f"local {role} {owner or ''}".strip(), f"{role} (local demo)", role, owner)
        if old := self._sessions.open(self._site.cookie_of(request, SESSION)):
            self._sessions.end(old)
        session = self._sessions.seal(self._sessions.begin(caller))
        return redirect(path, [self._site.no_cookie(ATTEMPT), self._site.cookie(SESSION, session)])

    def _require_this_machine(self, request: AnyRequest) -> str:
        """The origin of the site.

        Raises:
            HTTPException: the request does not come from this machine, or is for another one.
        """
        origin = self._site.origin_of(request)
        if request.client is None or not is_loopback(request.client.host):
            raise PermissionDeniedException("the local sign-in is for this machine only")
        if any(name in request.headers for name in _FORWARDED):
            raise PermissionDeniedException("the local sign-in is for this machine only, not for a proxy's clients")
        return origin

    def _form_token(self, request: AnyRequest) -> str:
        """What the form of this browser holds; a token that nobody knows where it has none."""
        content = self._seal.open(self._site.cookie_of(request, ATTEMPT))
        if content is None or len(content) != 2 or self._clock_ms() >= content[1]:
            return secrets.token_hex()
        return str(content[0])

    def _form(self, path: str, fault: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response[str]:
        token = secrets.token_hex()
        sealed = self._seal.seal([token, self._clock_ms() + FORM_SECONDS * 1000])
        choices = "".join(_choice(role) for role in AccessRole)
        form = (
            f'<form method="post" action="{SIGN_IN}">{choices}'
            '<p><label>Tenant (not for an operator) <input name="tenant" maxlength="64"></label></p>'
            f'<input type="hidden" name="next" value="{escape(path)}">'
            f'<input type="hidden" name="{FIELD}" value="{token}"><p><button>Sign in</button></p></form>'
        )
        sentences = [
            "This sign-in is for a demo: anybody on this machine may sign in as anybody.",
            *([fault] if fault else []),
        ]
        cookie = self._site.cookie(ATTEMPT, sealed, FORM_SECONDS)
        return answer_page("Sign in to the demo", sentences, status=status, form=form, cookies=[cookie])


def _choice(role: AccessRole) -> str:
    checked = " checked" if role is AccessRole.TENANT_ADMIN else ""
    return f'<p><label><input type="radio" name="role" value="{role}"{checked}> {role}</label></p>'
