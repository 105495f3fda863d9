"""Files that every page uses: named by their content, so that a browser keeps them for good; compressed once."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from litestar import Request, Response, get
from litestar.params import FromPath

from streams.report.web.problems import not_found

MEDIA_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files of other kinds are not served."""
_KEPT: Final = "public, max-age=31536000, immutable"


class StaticFile(NamedTuple):
    """A file: its bytes, the same compressed, and its name and tag, which change with them."""

    body: bytes
    compressed: bytes
    media_type: str
    hashed_name: str
    etag: str


@lru_cache
def static_files() -> Mapping[str, StaticFile]:
    """Every file by its own name; read once."""
    found = {}
    for entry in files("streams.report.page").joinpath("static").iterdir():
        stem, dot, ending = entry.name.rpartition(".")
        media_type = MEDIA_TYPES.get(f"{dot}{ending}")
        if media_type is not None:
            body = entry.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:16]
            compressed = gzip.compress(body, mtime=0)
            found[entry.name] = StaticFile(body, compressed, media_type, f"{stem}.{digest}.{ending}", f'"{digest}"')
    return found


def static_path(name: str) -> str:
    """Where a file is served."""
    return f"/static/{static_files()[name].hashed_name}"


@get("/static/{name:str}", include_in_schema=False)
async def show_static_file(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file by its hashed name."""
    found = next((file for file in static_files().values() if file.hashed_name == name), None)
    if found is None:
        raise not_found("file", name)
    headers = {"Cache-Control": _KEPT, "ETag": found.etag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match") == found.etag:
        return Response(b"", status_code=304, headers=headers, media_type=found.media_type)
    body = found.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = found.compressed, "gzip"
    return Response(body, headers=headers, media_type=found.media_type)
