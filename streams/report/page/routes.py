"""Every address of the page, and what it answers where a request fails."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

from litestar import Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.types import ControllerRouterHandler

from streams.report.access.failures import FailureLimit
from streams.report.page.coming import show_coming
from streams.report.page.deliveries import show_deliveries
from streams.report.page.destinations import (
    act_on_destination,
    make_destination,
    show_destination_form,
    show_destination_removal,
    show_message,
    show_one_destination,
)
from streams.report.page.links import (
    confirm_destination,
    show_confirmation,
    show_unsubscription,
    unsubscribe_destination,
)
from streams.report.page.notices import show_notices
from streams.report.page.operator import ask_for_server, release_all, show_operator, show_operator_form
from streams.report.page.overview import show_report
from streams.report.page.pauses import create_pause, show_pause_form, show_pauses
from streams.report.page.rendering import environment, render
from streams.report.page.server import show_one_server
from streams.report.page.static import show_static_file
from streams.report.page.subscriptions import (
    act_on_subscription,
    make_subscription,
    show_one_subscription,
    show_subscription_end,
    show_subscription_form,
)
from streams.report.page.visits import PagePorts, answer_html, language_for, provide_visit
from streams.report.web.ledger import NoLedgerError
from streams.report.web.problems import problem_of
from streams.report.web.request_ids import request_id_of
from streams.texts.languages import Language

PAGES: tuple[ControllerRouterHandler, ...] = (
    show_report,
    show_one_server,
    show_pauses,
    show_pause_form,
    create_pause,
    show_notices,
    show_destination_form,
    make_destination,
    show_one_destination,
    act_on_destination,
    show_destination_removal,
    show_message,
    show_subscription_form,
    make_subscription,
    show_one_subscription,
    act_on_subscription,
    show_subscription_end,
    show_deliveries,
    show_confirmation,
    confirm_destination,
    show_unsubscription,
    unsubscribe_destination,
    show_coming,
    show_operator,
    show_operator_form,
    ask_for_server,
    release_all,
)


def page_handlers(ports: PagePorts) -> list[ControllerRouterHandler]:
    """The pages, and the files that they use."""
    failures = FailureLimit(time.monotonic)
    environment()

    def answer(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
        return answer_failure(request, error, is_secure=ports.is_secure)

    pages = Router(
        "/",
        route_handlers=PAGES,
        dependencies={
            "ports": Provide(lambda: ports, sync_to_thread=False, use_cache=True),
            "visit": Provide(provide_visit),
            "failures": Provide(lambda: failures, sync_to_thread=False),
        },
        exception_handlers={Exception: answer},
    )
    return [pages, show_static_file]


def answer_failure(request: Request[Any, Any, Any], error: Exception, *, is_secure: bool) -> Response[str]:
    """What a reader sees where a page fails: what happened, and what to do."""
    problem, language = problem_of(request, error), language_for(request)
    values = {
        "language": language,
        "title": _title(language, problem),
        "detail": problem.detail,
        "request_id": request_id_of(request),
    }
    html = render("failure.html", values)
    answer = answer_html(request, language, html, problem.status_code, is_secure=is_secure)
    for name, value in (problem.headers or {}).items():
        answer.headers[name] = value
    return answer


def _title(language: Language, problem: HTTPException) -> str:
    match problem.status_code:
        case HTTPStatus.NOT_FOUND:
            return language.say("There is nothing of this name here.")
        case HTTPStatus.FORBIDDEN:
            return language.say("You may not do this.")
        case HTTPStatus.SERVICE_UNAVAILABLE if isinstance(problem, NoLedgerError):
            return language.say("Notices are not set up here.")
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return language.say("The report's database does not answer. Try again in a moment.")
        case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return language.say("This page failed. Tell the operator the number below.")
        case _:
            return language.say("This request cannot be answered.")
