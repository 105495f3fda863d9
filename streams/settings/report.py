"""The settings of the report, typed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from streams.settings.base import (
    EDGE_PREFIX,
    NOTIFY_PREFIX,
    fault,
    https_faults,
    is_loopback,
    public_url_faults,
    read,
    setting,
    variables_of,
)
from streams.settings.database import DatabaseSettings
from streams.settings.worker import DEFAULT_POLICY, Settings

LEAST_DAYS, MOST_DAYS = 2, 4000
ALGORITHMS = ("RS256", "ES256", "PS256", "EdDSA")
"""By which tokens may be signed: only those with a public key, so that no verifier can forge one."""
LOCAL_DEMO = "demo"
LEAST_KEY_CHARS = 32
MOST_CLAIM_CHARS = 200


@dataclass(frozen=True, slots=True)
class ReportSettings(DatabaseSettings):
    """The settings of the report; each can be given by the environment variable named with it."""

    history_days: int = setting("TES_REPORT_HISTORY_DAYS", 400, "how long history is kept, in days")
    port: int = setting("TES_REPORT_PORT", 6069, "port of the web server for probes and metrics; 0: no web server")
    web_host: str = setting("TES_REPORT_WEB_HOST", "127.0.0.1", "address of this web server")
    app_id: str = setting("TES_APP_ID", "tes", "that of the workers: publishers of policies are told apart by it")
    api_host: str = setting("TES_REPORT_API_HOST", "127.0.0.1", "address of the web server for API and page")
    api_port: int = setting("TES_REPORT_API_PORT", 6070, "its port; 0: API and page are off")
    public_url: str = setting(
        "TES_REPORT_PUBLIC_URL", "", "https://HOST of API and page as browsers see it; empty: loopback only"
    )
    oidc_issuer: str = setting("TES_REPORT_OIDC_ISSUER", "", "the OpenID Connect provider whose tokens are accepted")
    oidc_audience: str = setting(
        "TES_REPORT_OIDC_AUDIENCE", "", "who bearer tokens must be issued for; empty: TES_REPORT_OIDC_CLIENT_ID"
    )
    oidc_client_id: str = setting(
        "TES_REPORT_OIDC_CLIENT_ID", "", "client for sign-in in a browser; empty: bearer tokens only"
    )
    oidc_client_secret: str = setting(
        "TES_REPORT_OIDC_CLIENT_SECRET", "", "its secret; without one it is a public client", is_secret=True
    )
    oidc_client_secret_file: str = setting(
        "TES_REPORT_OIDC_CLIENT_SECRET_FILE", "", "the file that holds its secret; read again for every sign-in"
    )
    oidc_algorithms: tuple[str, ...] = setting(
        "TES_REPORT_OIDC_ALGORITHMS", ("RS256", "ES256"), "by which tokens may be signed: RS256, ES256, PS256, EdDSA"
    )
    oidc_tenant_claim: str = setting(
        "TES_REPORT_OIDC_TENANT_CLAIM", "tenant_id", "the claim with the caller's tenant; a.b is b in a"
    )
    oidc_role_claim: str = setting(
        "TES_REPORT_OIDC_ROLE_CLAIM", "roles", "the claim with the caller's roles; a.b is b in a"
    )
    session_key: str = setting(
        "TES_REPORT_SESSION_KEY", "", "seals sessions, 32 characters or more; empty: made at each start", is_secret=True
    )
    session_key_file: str = setting("TES_REPORT_SESSION_KEY_FILE", "", "the file that holds this key")
    local_sign_in: str = setting(
        "TES_REPORT_LOCAL_SIGN_IN", "", "demo: anybody on this machine may sign in as anybody; never in production"
    )
    policies: tuple[str, ...] = setting(
        "TES_POLICY", (DEFAULT_POLICY,), "shipped policies or YAML files, joined by commas: those of the workers"
    )
    log_format: str = setting("TES_LOG_FORMAT", "text", "lines of the log: text, or json for machines")
    crash_at: str = setting(
        "TES_REPORT_CRASH_AT", "", "tests: kill the process at this failpoint; `written:3` means the third time"
    )

    def faults(self) -> Iterator[str]:
        """What is wrong with each setting."""
        yield from DatabaseSettings.faults(self)
        if self.log_format not in ("text", "json"):
            yield fault(self, "log_format", "must be text or json")
        if not LEAST_DAYS <= self.history_days <= MOST_DAYS:
            yield fault(self, "history_days", f"must be from {LEAST_DAYS} to {MOST_DAYS}")
        if not 0 <= self.port <= 65535:
            yield fault(self, "port", "must be a port, 0 to 65535")
        yield from _api_faults(self)
        yield from _provider_faults(self)
        yield from _session_faults(self)

    def secret_files(self) -> tuple[str, ...]:
        """See `DatabaseSettings`."""
        own = self.oidc_client_secret_file, self.session_key_file
        return *DatabaseSettings.secret_files(self), *own


def read_report_settings(environment: Mapping[str, str] = os.environ) -> ReportSettings:
    """The settings of the environment; those of other parts may be set as well.

    Raises:
        SettingsError: TES_ variables are unknown, or their values are not of their kind; names all of them.
    """
    return read(ReportSettings, environment, _is_of_another_part)


def _api_faults(settings: ReportSettings) -> Iterator[str]:
    if not 0 <= settings.api_port <= 65535:
        yield fault(settings, "api_port", "must be a port, 0 to 65535")
    elif settings.api_port and settings.api_port == settings.port:
        yield fault(settings, "api_port", "must differ from TES_REPORT_PORT")
    if not settings.api_host:
        yield fault(settings, "api_host", "must be an address to listen at")
    yield from public_url_faults(settings, "public_url")


def _provider_faults(settings: ReportSettings) -> Iterator[str]:
    if not settings.oidc_issuer:
        for name in ("oidc_audience", "oidc_client_id", "oidc_client_secret", "oidc_client_secret_file"):
            if getattr(settings, name):
                yield fault(settings, name, "needs TES_REPORT_OIDC_ISSUER")
    else:
        yield from https_faults(settings, "oidc_issuer")
        if not settings.oidc_audience and not settings.oidc_client_id:
            yield fault(settings, "oidc_issuer", "needs TES_REPORT_OIDC_AUDIENCE or TES_REPORT_OIDC_CLIENT_ID")
    if settings.oidc_client_id and not settings.public_url and not is_loopback(settings.api_host):
        yield fault(settings, "oidc_client_id", "needs TES_REPORT_PUBLIC_URL, to which browsers come back")
    for name in ("oidc_client_secret", "oidc_client_secret_file"):
        if getattr(settings, name) and not settings.oidc_client_id:
            yield fault(settings, name, "needs TES_REPORT_OIDC_CLIENT_ID")
    if settings.oidc_client_secret and settings.oidc_client_secret_file:
        yield fault(settings, "oidc_client_secret_file", "must be empty if TES_REPORT_OIDC_CLIENT_SECRET is set")
    if not settings.oidc_algorithms or not set(settings.oidc_algorithms) <= set(ALGORITHMS):
        yield fault(settings, "oidc_algorithms", f"must be one or several of {', '.join(ALGORITHMS)}")
    for name in ("oidc_tenant_claim", "oidc_role_claim"):
        if not 1 <= len(getattr(settings, name)) <= MOST_CLAIM_CHARS:
            yield fault(settings, name, f"must be the name of a claim, of at most {MOST_CLAIM_CHARS} characters")


def _session_faults(settings: ReportSettings) -> Iterator[str]:
    if settings.session_key and len(settings.session_key) < LEAST_KEY_CHARS:
        yield fault(settings, "session_key", f"must have {LEAST_KEY_CHARS} characters or more")
    if settings.session_key and settings.session_key_file:
        yield fault(settings, "session_key_file", "must be empty if TES_REPORT_SESSION_KEY is set")
    if not settings.local_sign_in:
        return
    if settings.local_sign_in != LOCAL_DEMO:
        yield fault(settings, "local_sign_in", f"must be empty or {LOCAL_DEMO}")
        return
    if not is_loopback(settings.api_host):
        yield fault(settings, "local_sign_in", "needs a TES_REPORT_API_HOST that is loopback, such as 127.0.0.1")
    for variable, is_set in (
        ("TES_REPORT_OIDC_ISSUER", settings.oidc_issuer),
        ("TES_REPORT_PUBLIC_URL", settings.public_url),
    ):
        if is_set:
            yield fault(settings, "local_sign_in", f"must be empty if {variable} is set")


def _is_of_another_part(variable: str) -> bool:
    return variable.startswith((EDGE_PREFIX, NOTIFY_PREFIX)) or variable in variables_of(Settings)
