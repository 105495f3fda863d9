"""Sign-out: the browser forgets its session, and this process opens it no more."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, Router, get, post

from streams.report.access.csrf import check_own_origin, check_own_request
from streams.report.access.pages import answer_page, redirect
from streams.report.access.sessions import Sessions
from streams.report.access.site import OPEN, SESSION, SIGN_OUT, Site


def sign_out_router(sessions: Sessions, site: Site) -> Router:
    """Serves sign-out, by POST, and the page that says so."""

    @post(SIGN_OUT, opt=OPEN, include_in_schema=False)
    async def sign_out(request: Request[Any, Any, Any]) -> Response[str]:
        origin = site.origin_of(request)
        # Another site's request comes without the session, but its answer would have the browser forget it.
        check_own_origin(request, origin)
        session = sessions.open(site.cookie_of(request, SESSION))
        if session is not None:
            await check_own_request(request, origin, session.csrf_token)
            sessions.end(session)
        return redirect(SIGN_OUT, [site.no_cookie(SESSION)])

    @get(SIGN_OUT, opt=OPEN, include_in_schema=False, sync_to_thread=False)
    def signed_out(request: Request[Any, Any, Any]) -> Response[str]:
        if sessions.open(site.cookie_of(request, SESSION)) is not None:
            return redirect()
        return answer_page(
            "You are signed out",
            ["This browser has forgotten your session. You may still be signed in at your sign-in provider."],
            link="Sign in",
        )

    return Router("/", route_handlers=[sign_out, signed_out])
