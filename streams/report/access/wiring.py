"""Who may, composed from the settings."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.types import Middleware

from streams.clock import wall_clock_ms
from streams.kafka.secret_files import SecretFileError, read_secret
from streams.log_events import log_event
from streams.report.access.callers import Caller
from streams.report.access.claims import caller_of
from streams.report.access.keys import ProviderKeys
from streams.report.access.local import LocalSignIn
from streams.report.access.middleware import Identification
from streams.report.access.pages import show_style
from streams.report.access.provider import Provider
from streams.report.access.seals import Seal
from streams.report.access.sessions import Sessions
from streams.report.access.sign_in import Client, ProviderSignIn
from streams.report.access.sign_out import sign_out_router
from streams.report.access.site import CALLBACK, OPEN, SIGN_IN, AnyRequest, Site
from streams.report.access.tokens import TokenChecker
from streams.settings.report import LEAST_KEY_CHARS, ReportSettings

log = logging.getLogger(__name__)


class Access:
    """What an application needs to know who calls: middleware, and the routers of sign-in."""

    def __init__(
        self,
        identify: Middleware,
        routers: Sequence[Router],
        provider: Provider | None = None,
        keys: ProviderKeys | None = None,
    ) -> None:
        """Compose; `start` before the first request."""
        self.identify, self.routers, self._provider, self._keys = identify, routers, provider, keys

    async def start(self) -> None:
        """Make clients, in the event loop that serves."""
        if self._provider is not None:
            await self._provider.start()

    async def close(self) -> None:
        """End what is under way."""
        if self._keys is not None:
            await self._keys.close()
        if self._provider is not None:
            await self._provider.close()


def access_of(
    settings: ReportSettings,
    clock_ms: Callable[[], int] = wall_clock_ms,
    clock: Callable[[], float] = time.monotonic,
) -> Access | None:
    """Who may call API and page; None where they are off, since nobody could be told from anybody.

    Args:
        settings: of the report.
        clock_ms: UTC milliseconds, for what tokens and sessions say.
        clock: seconds that never go back, for what is waited for.

    Raises:
        SecretFileError: a file of a secret holds none.
    """
    if not settings.api_port or not (settings.oidc_issuer or settings.local_sign_in):
        why = "TES_REPORT_OIDC_ISSUER is not set" if settings.api_port else "TES_REPORT_API_PORT is 0"
        log.info("API and page are off: %s", why, extra=log_event("report_api_off", why=why))
        return None
    site = Site(settings.public_url)
    if settings.local_sign_in:
        return _local_access(settings, site, clock_ms, clock)
    return _provider_access(settings, site, clock_ms, clock)


def _local_access(
    settings: ReportSettings, site: Site, clock_ms: Callable[[], int], clock: Callable[[], float]
) -> Access:
    log.warning(
        "TES_REPORT_LOCAL_SIGN_IN: anybody on this machine may sign in as anybody until this process ends",
        extra=log_event("report_local_sign_in", host=settings.api_host, port=settings.api_port),
    )
    secret = secrets.token_bytes(32)  # never the settings': these sessions end with the process
    sessions = Sessions(secret, clock_ms)
    sign_in = LocalSignIn(sessions, site, Seal(secret, "sign-in"), clock_ms)
    routers = [_sign_in_router(get(SIGN_IN, **_HIDDEN), sign_in.begin, post(SIGN_IN, **_HIDDEN), sign_in.finish)]
    return Access(Identification(None, sessions, site, clock), [*routers, sign_out_router(sessions, site)])


def _provider_access(
    settings: ReportSettings, site: Site, clock_ms: Callable[[], int], clock: Callable[[], float]
) -> Access:
    provider = Provider(settings.oidc_issuer, clock)
    keys = ProviderKeys(provider, clock)
    checker = TokenChecker(settings.oidc_issuer, settings.oidc_algorithms, keys, clock_ms)
    audience = settings.oidc_audience or settings.oidc_client_id

    async def token_caller(token: str) -> Caller:
        claims = await checker.check(token, audience)
        return caller_of(claims, settings.oidc_tenant_claim, settings.oidc_role_claim)

    if not settings.oidc_client_id:
        return Access(Identification(token_caller, None, site, clock), [], provider, keys)
    secret = _session_secret(settings)
    sessions = Sessions(secret, clock_ms)
    client = Client(
        settings.oidc_client_id, _client_secret(settings), settings.oidc_tenant_claim, settings.oidc_role_claim
    )
    sign_in = ProviderSignIn(provider, checker, client, sessions, site, Seal(secret, "sign-in"), clock_ms)
    routers = [_sign_in_router(get(SIGN_IN, **_HIDDEN), sign_in.begin, get(CALLBACK, **_HIDDEN), sign_in.finish)]
    identify = Identification(token_caller, sessions, site, clock)
    return Access(identify, [*routers, sign_out_router(sessions, site)], provider, keys)


def _session_secret(settings: ReportSettings) -> bytes:
    if settings.session_key_file:
        path = Path(settings.session_key_file)
        secret = read_secret(path)
        if len(secret) < LEAST_KEY_CHARS:
            raise SecretFileError(path, f"must hold {LEAST_KEY_CHARS} characters or more")
        return secret.encode()
    if settings.session_key:
        return settings.session_key.encode()
    log.warning(
        "sessions end with this process, and no other replica knows them: TES_REPORT_SESSION_KEY is not set",
        extra=log_event("report_sessions_own_key"),
    )
    return secrets.token_bytes(32)


def _client_secret(settings: ReportSettings) -> Callable[[], str]:
    if not settings.oidc_client_secret_file:
        return lambda: settings.oidc_client_secret
    path = Path(settings.oidc_client_secret_file)
    read_secret(path)  # say at the start what is wrong
    return lambda: read_secret(path)


_HIDDEN: dict[str, Any] = {"opt": OPEN, "include_in_schema": False}


def _sign_in_router(
    beginning: Callable[..., Any],
    begin: Callable[[AnyRequest], Awaitable[Response[str]]],
    finishing: Callable[..., Any],
    finish: Callable[[AnyRequest], Awaitable[Response[str]]],
) -> Router:
    """Serves the two steps of a sign-in."""

    @beginning
    async def begin_sign_in(request: Request[Any, Any, Any]) -> Response[str]:
        return await begin(request)

    @finishing
    async def finish_sign_in(request: Request[Any, Any, Any]) -> Response[str]:
        return await finish(request)

    return Router("/", route_handlers=[begin_sign_in, finish_sign_in, show_style])
