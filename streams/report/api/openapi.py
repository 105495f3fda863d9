"""The OpenAPI document of the API, as it is committed: `python -m streams.report.api.openapi > FILE`."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from typing import Any, Final

from litestar import Litestar
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig

from streams.report.api.router import PROVIDED, api_router

API_VERSION: Final = "1"
"""Of the paths and fields under `/v1`: what exists there keeps its meaning."""


@lru_cache(1)
def document() -> bytes:
    """The document, made of the routes by an application that serves nothing; its pages would load others' scripts."""
    nothing = {name: Provide(lambda: None, sync_to_thread=False) for name in PROVIDED}
    config = OpenAPIConfig(
        title="Transport-based enforcement: the report",
        version=API_VERSION,
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, method, parts: handler.handler_name.rpartition(".")[2],
    )
    application = Litestar([api_router()], dependencies=nothing, openapi_config=config)
    schema: dict[str, Any] = application.openapi_schema.to_schema()
    return json.dumps(schema, indent=2, sort_keys=True).encode() + b"\n"


if __name__ == "__main__":
    sys.stdout.buffer.write(document())
