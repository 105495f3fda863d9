"""The few pages around sign-in: plain HTML without script, everything in it escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from http import HTTPStatus
from typing import Final

from litestar import MediaType, Response, get
from litestar.datastructures import Cookie

from streams.report.access.site import HOME, OPEN, SIGN_IN

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

STYLE: Final = f"{SIGN_IN}.css"
_CSS: Final = """\
body { margin: 0; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 26rem; margin: 12vh auto 0; padding: 0 1.2rem; }
h1 { font-size: 1.4rem; }
label { display: block; margin: .5rem 0; }
input:not([type=radio]) { display: block; box-sizing: border-box; width: 100%; padding: .4rem .5rem; font: inherit; }
button { margin-top: .8rem; padding: .45rem 1.2rem; font: inherit; font-weight: 600; }
"""


@get(STYLE, opt=OPEN, include_in_schema=False, sync_to_thread=False, media_type=MediaType.CSS)
def show_style() -> str:
    """Show how these pages look."""
    return _CSS


def answer_page(
    title: str,
    sentences: Sequence[str],
    *,
    status: HTTPStatus = HTTPStatus.OK,
    link: str = "",
    form: str = "",
    cookies: Sequence[Cookie] = (),
) -> Response[str]:
    """A page.

    Args:
        title: its heading.
        sentences: plain text.
        status: of the answer.
        link: the words that lead to sign-in.
        form: HTML, everything in it escaped already.
        cookies: what the browser is to keep or forget.
    """
    body = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    if link:
        body += f'<p><a href="{SIGN_IN}">{escape(link)}</a></p>'
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="stylesheet" href="{STYLE}">'
        f"<title>{escape(title)}</title></head><body><main><h1>{escape(title)}</h1>{body}{form}</main></body></html>"
    )
    return Response(html, status_code=status, media_type=MediaType.HTML, headers=_HEADERS, cookies=list(cookies))


def redirect(address: str = HOME, cookies: Sequence[Cookie] = ()) -> Response[str]:
    """Send the browser elsewhere, by GET."""
    headers = _HEADERS | {"Location": address}
    return Response("", status_code=303, media_type=MediaType.HTML, headers=headers, cookies=list(cookies))
