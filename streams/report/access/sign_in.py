"""Sign-in at the provider: authorization code with PKCE (RFC 6749, 7636, 9700; OpenID Connect Core 1.0, section 3.1).

1. `begin` makes state, nonce and verifier, seals them into a cookie of ten minutes, and sends the browser to the
   provider.
2. The provider sends it back with a code. `finish` wants the state of this very browser, exchanges the code, checks the
   ID token with the nonce, and begins a session.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from litestar import Response
from litestar.datastructures import Cookie

from streams.kafka.secret_files import SecretFileError
from streams.log_events import log_event
from streams.report.access.claims import NoAccessError, caller_of
from streams.report.access.fetched import FetchError
from streams.report.access.pages import answer_page, redirect
from streams.report.access.provider import Provider, RefusedCodeError
from streams.report.access.seals import Seal
from streams.report.access.sessions import Sessions
from streams.report.access.site import ATTEMPT, CALLBACK, HOME, SESSION, AnyRequest, Site, local_path
from streams.report.access.tokens import TokenChecker, TokenError
from streams.visible import visible

log = logging.getLogger(__name__)

ATTEMPT_SECONDS: Final = 600
SCOPE: Final = "openid profile email"
_MOST_CODE_CHARS: Final = 4_096
_MOST_SHOWN_CHARS: Final = 300
AGAIN: Final = "Sign in again"


class Client(NamedTuple):
    """What the report is to the provider; `secret` reads its secret anew, empty for a public client.

    `tenant_claim` and `role_claim` are the names of claims.
    """

    client_id: str
    secret: Callable[[], str]
    tenant_claim: str
    role_claim: str


class _Attempt(NamedTuple):
    """A sign-in that has begun; `until_ms` in UTC milliseconds."""

    state: str
    nonce: str
    verifier: str
    path: str
    until_ms: int


class ProviderSignIn:
    """Signs browsers in by the provider."""

    def __init__(
        self,
        provider: Provider,
        checker: TokenChecker,
        client: Client,
        sessions: Sessions,
        site: Site,
        seal: Seal,
        clock_ms: Callable[[], int],
    ) -> None:
        """Nothing has begun; `seal` seals attempts, `clock_ms` gives UTC milliseconds."""
        self._provider, self._checker, self._client = provider, checker, client
        self._sessions, self._site, self._seal, self._clock_ms = sessions, site, seal, clock_ms

    async def begin(self, request: AnyRequest) -> Response[str]:
        """Send the browser to the provider."""
        address = self._callback_of(request)
        attempt = _Attempt(
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(24),
            secrets.token_urlsafe(48),
            local_path(request.query_params.get("next")),
            self._clock_ms() + ATTEMPT_SECONDS * 1000,
        )
        try:
            endpoint = (await self._provider.document()).authorization_endpoint
        except FetchError:
            return _provider_away()
        query = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": address,
            "scope": SCOPE,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": challenge_of(attempt.verifier),
            "code_challenge_method": "S256",
        }
        cookie = self._site.cookie(ATTEMPT, self._seal.seal(list(attempt)), ATTEMPT_SECONDS)
        return redirect(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", [cookie])

    async def finish(self, request: AnyRequest) -> Response[str]:
        """Begin a session, if the provider says who came back."""
        address, forget = self._callback_of(request), [self._site.no_cookie(ATTEMPT)]
        attempt = self._attempt_of(request)
        given = request.query_params.get("state", "")
        if attempt is None or not hmac.compare_digest(attempt.state.encode(), given.encode()):
            return self._foreign_answer(request, forget)
        if error := request.query_params.get("error"):
            return _provider_refused(error, request.query_params.get("error_description", ""), forget)
        if request.query_params.get("iss", self._provider.issuer) != self._provider.issuer:  # RFC 9207
            return _failed("The answer came from another provider.", forget)
        try:
            claims = await self._claims_for(request.query_params.get("code", ""), attempt, address)
            caller = caller_of(claims, self._client.tenant_claim, self._client.role_claim)
        except FetchError:
            return _provider_away(forget)
        except SecretFileError as error:
            log.error(
                "the client secret cannot be read: %s", error, extra=log_event("report_sign_in_refused", why=str(error))
            )
            return _provider_away(forget)
        except RefusedCodeError as error:
            return _failed(f"The provider refused to complete the sign-in: {error}.", forget)
        except TokenError as error:
            return _failed(f"The provider's ID token is refused: {error}.", forget)
        except NoAccessError as error:
            return _no_access(str(error), forget)
        if old := self._sessions.open(self._site.cookie_of(request, SESSION)):
            self._sessions.end(old)
        session = self._sessions.seal(self._sessions.begin(caller))
        return redirect(attempt.path, [*forget, self._site.cookie(SESSION, session)])

    def _callback_of(self, request: AnyRequest) -> str:
        return self._site.origin_of(request) + CALLBACK

    def _attempt_of(self, request: AnyRequest) -> _Attempt | None:
        content = self._seal.open(self._site.cookie_of(request, ATTEMPT))
        if content is None or len(content) != len(_Attempt._fields):
            return None
        attempt = _Attempt(*content)
        return attempt if self._clock_ms() < attempt.until_ms else None

    async def _claims_for(self, code: str, attempt: _Attempt, address: str) -> dict[str, Any]:
        """The claims of the ID token that the provider gives for a code.

        Raises:
            FetchError, RefusedCodeError, SecretFileError, TokenError: it gives none, or one that is refused.
        """
        if not 1 <= len(code) <= _MOST_CODE_CHARS:
            raise RefusedCodeError("no code")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": address,
            "code_verifier": attempt.verifier,
        }
        answer = await self._provider.exchange(form, self._client.client_id, self._client.secret())
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise TokenError("there is none")
        claims = await self._checker.check(token, self._client.client_id)
        nonce, audience = claims.get("nonce"), claims.get("aud")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), attempt.nonce.encode()):
            raise TokenError("its nonce is not the one of this sign-in")
        if claims.get("azp", self._client.client_id) != self._client.client_id:
            raise TokenError("it was issued to another client")
        if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
            raise TokenError("it has several audiences and names no client")
        return claims

    def _foreign_answer(self, request: AnyRequest, forget: Sequence[Cookie]) -> Response[str]:
        """An answer to no sign-in of this browser; one that signed in meanwhile, in another tab, goes on there."""
        if self._sessions.open(self._site.cookie_of(request, SESSION)):
            return redirect(HOME)
        # Anybody can send such an answer, as often as they like: it is not worth a line in the log.
        return _failure_page("This sign-in was not begun in this browser, or too long ago.", forget)


def challenge_of(verifier: str) -> str:
    """What the provider is told of a verifier before (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _failed(why: str, forget: Sequence[Cookie]) -> Response[str]:
    log.warning("a sign-in failed: %s", why, extra=log_event("report_sign_in_refused", why=why))
    return _failure_page(why, forget)


def _failure_page(why: str, forget: Sequence[Cookie]) -> Response[str]:
    return answer_page("Sign-in failed", [why], status=HTTPStatus.BAD_REQUEST, link=AGAIN, cookies=forget)


def _provider_refused(error: str, description: str, forget: Sequence[Cookie]) -> Response[str]:
    said = [visible(text)[:_MOST_SHOWN_CHARS] for text in (error, description) if text]
    return _failed(f"The provider answered: {': '.join(said)}", forget)


def _no_access(why: str, forget: Sequence[Cookie]) -> Response[str]:
    log.warning("a sign-in gives no access: %s", why, extra=log_event("report_sign_in_refused", why=why))
    return answer_page(
        "No access",
        ["You have signed in, but your account gives no access to this report. Ask your administrator.", why],
        status=HTTPStatus.FORBIDDEN,
        link="Sign in with another account",
        cookies=forget,
    )


def _provider_away(forget: Sequence[Cookie] = ()) -> Response[str]:
    return answer_page(
        "Sign-in is not possible now",
        ["The sign-in provider does not answer. Try again in a minute. Sessions that have begun go on."],
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        link=AGAIN,
        cookies=forget,
    )
