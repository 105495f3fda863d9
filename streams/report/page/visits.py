"""A visit: who reads, in which language, whose servers, at which moment; and how its pages are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

from litestar import Request, Response
from litestar.datastructures import Cookie
from litestar.di import NamedDependency

from streams.database.database import is_all_tenants
from streams.domain.exchange.catalogue import Catalogue
from streams.report.access.callers import AccessRole, Caller
from streams.report.page.rendering import render
from streams.report.queries.episodes import AheadCounts
from streams.report.store.upkeep import current_at
from streams.report.web.coming import ComingPort
from streams.report.web.commands import CommandPort, OperatorPort
from streams.report.web.ledger import Ledger
from streams.report.web.problems import Problem
from streams.report.web.read_model import ReadModel
from streams.report.web.server_names import path_of_server
from streams.report.web.tenants import tenant_of
from streams.texts.languages import NAMES, Language, choose_language, language_of

COOKIE: Final = "tes_language"
_YEAR_SECONDS: Final = 365 * 86_400
STALE_MS: Final = 60_000
"""Data that is older gets a banner."""
PageRequest = Request[Caller, Any, Any]


@dataclass(frozen=True, slots=True)
class PagePorts:
    """What the page works with.

    `clock` gives the moment now, UTC milliseconds. `is_secure` is whether browsers come by HTTPS, to a proxy perhaps.
    """

    read_model: ReadModel
    commands: CommandPort
    coming: ComingPort
    operating: OperatorPort
    clock: Callable[[], int]
    catalogue: Catalogue
    is_secure: bool
    ledger: Ledger
    ahead: AheadCounts = field(default_factory=AheadCounts)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a known caller; `tenant` is whose pages are shown, or `ALL_TENANTS`; moments in UTC milliseconds.

    `current_at` is when the tables were last known to show everything that the topics held, None where they never were.
    """

    request: PageRequest
    ports: PagePorts
    caller: Caller
    language: Language
    tenant: str
    now: int
    current_at: int | None

    @property
    def is_operator(self) -> bool:
        """Whether the caller sees every tenant."""
        return self.caller.role is AccessRole.OPERATOR

    @property
    def may_pause(self) -> bool:
        """Whether the caller may pause enforcement."""
        return self.caller.role is not AccessRole.TENANT_READER

    @property
    def may_change(self) -> bool:
        """Whether the caller may say who is told, and when."""
        return self.caller.role is not AccessRole.TENANT_READER

    def one_tenant(self) -> str:
        """The tenant whose pages are shown.

        Raises:
            Problem: an operator names none.
        """
        if is_all_tenants(self.tenant):
            raise Problem(HTTPStatus.BAD_REQUEST, "tenant: missing: an operator must name one")
        return self.tenant

    def path(self, path: str, **query: str | int | None) -> str:
        """The address of a page of the same tenant."""
        if self.is_operator and not is_all_tenants(self.tenant):
            query.setdefault("tenant", self.tenant)
        asked = {name: value for name, value in query.items() if value not in (None, "")}
        return f"{path}?{urlencode(asked)}" if asked else path

    def server_path(self, server: str, tenant: str | None = None) -> str:
        """The address of a server's page; of another tenant's for an operator who sees all of them."""
        path = path_of_server(server)
        return path if tenant is None else f"{path}?{urlencode({'tenant': tenant})}"

    def page(self, template: str, status: int = HTTPStatus.OK, **values: Any) -> Response[str]:
        """A page of this visit."""
        html = render(template, {**self._common(), **values})
        return answer_html(self.request, self.language, html, status, is_secure=self.ports.is_secure)

    def _common(self) -> Mapping[str, Any]:
        return {
            "visit": self,
            "language": self.language,
            "languages": NAMES,
            "is_all": is_all_tenants(self.tenant),
            "csrf_token": getattr(self.request.auth, "csrf_token", None),  # none with a bearer token
            "age_seconds": None if self.current_at is None else max(0, self.now - self.current_at) // 1000,
            "is_stale": self.current_at is None or self.now - self.current_at > STALE_MS,
            "language_path": lambda code: _with_language(self.request, code),
        }


async def provide_visit(request: PageRequest, ports: NamedDependency[PagePorts]) -> Visit:
    """The visit that a request is.

    Raises:
        Problem: another tenant is named by somebody who may see only one.
    """
    tenant = tenant_of(request.user, request.query_params.get("tenant"))
    known = await ports.read_model.ask(tenant, current_at)
    return Visit(request, ports, request.user, language_for(request), tenant, ports.clock(), known)


def language_for(request: Request[Any, Any, Any]) -> Language:
    """The language that a request asks for."""
    accepted = request.headers.get("accept-language", "")
    return language_of(choose_language(request.query_params.get("lang"), request.cookies.get(COOKIE), accepted))


def answer_html(
    request: Request[Any, Any, Any], language: Language, html: str, status: int, *, is_secure: bool
) -> Response[str]:
    """An answer in a language, which is remembered where it was asked for; by HTTPS only if `is_secure`."""
    cookies = []
    if request.query_params.get("lang") == language.code:
        cookies.append(
            Cookie(COOKIE, value=language.code, max_age=_YEAR_SECONDS, httponly=True, samesite="lax", secure=is_secure)
        )
    headers = {"Cache-Control": "no-store", "Content-Language": language.code}
    return Response(html, status_code=status, media_type="text/html", headers=headers, cookies=cookies)


def _with_language(request: Request[Any, Any, Any], code: str) -> str:
    query = [(name, value) for name, value in request.query_params.multi_items() if name not in ("lang", "done")]
    return f"{quote(request.scope['path'])}?{urlencode([*query, ('lang', code)])}"
