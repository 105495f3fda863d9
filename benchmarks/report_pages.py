"""What API and page cost over a filled database: requests at a steady rate against a server process on one core.

A request is late by as much as the server keeps it waiting: it is counted from the moment at which it was due. Who
calls is not checked here; a token costs 0.1 ms more.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import uvloop
from litestar.types import ASGIApp, Receive, Scope, Send

from streams.clock import wall_clock_ms
from streams.garbage import tune_gc
from streams.notices.opening import open_ledger
from streams.policies.catalogue.files import shipped_catalogue
from streams.report.access.callers import AccessRole, Caller
from streams.report.api.router import api_router
from streams.report.page.routes import page_handlers
from streams.report.page.visits import PagePorts
from streams.report.queries.servers import list_servers
from streams.report.store.opening import open_database
from streams.report.web.application import make_application
from streams.report.web.ledger import Ledger
from streams.report.web.read_model import ReadModel
from streams.report.web.server import WebServer
from streams.settings.report import ReportSettings, read_report_settings
from tests.support.page_world import Engine

RATE: Final = 50
SECONDS: Final = 20.0
TENANT: Final = "x-tenant"
"""The header that says who calls."""


@asynccontextmanager
async def serving(settings: ReportSettings) -> AsyncIterator[tuple[str, int]]:
    """A server process over a database; its address and its process id."""
    environment = dict(os.environ) | settings.environment()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.report_pages", env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}", process.pid
    finally:
        process.terminate()
        await process.wait()


async def ask(address: str, path: str, tenant: str) -> dict[str, Any]:
    """Ask a path at a steady rate; the middle and the 99th percentile in ms, and the size of an answer."""
    headers = {TENANT: tenant, "Accept": "text/html"}
    loop, waits, sizes = asyncio.get_running_loop(), list[float](), set[int]()

    async def one(session: aiohttp.ClientSession, due: float) -> None:
        async with session.get(address + path, headers=headers) as answer:
            body = await answer.read()
            assert answer.status == 200, (path, answer.status, body[:300])
        waits.append((loop.time() - due) * 1e3)
        sizes.add(len(body))

    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        begun = loop.time() + 0.1
        for number in range(round(RATE * SECONDS)):
            due = begun + number / RATE
            await asyncio.sleep(max(0.0, due - loop.time()))
            tasks.create_task(one(session, due))
    waits.sort()
    return {
        "p50_ms": round(waits[len(waits) // 2], 2),
        "p99_ms": round(waits[len(waits) * 99 // 100], 2),
        "bytes": max(sizes),
    }


async def export(address: str, path: str, tenant: str, pid: int) -> dict[str, Any]:
    """Read an export to its end; rows a second, and by how much the server's memory grew."""
    before, rows, began = _resident(pid), 0, time.perf_counter()
    most = before
    async with (
        aiohttp.ClientSession() as session,
        session.get(address + path, headers={TENANT: tenant}) as answer,
    ):
        assert answer.status == 200
        async for part in answer.content.iter_any():
            rows += part.count(b"\n")
            most = max(most, _resident(pid))
    return {
        "rows_per_second": round(rows / (time.perf_counter() - began)),
        "grown_mib": round((most - before) / 2**20, 1),
    }


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def ask_all(settings: ReportSettings, tenant: str) -> dict[str, Any]:
    """Ask pages and API of a tenant, one after the other."""
    with closing(open_database(settings)) as database, database.reading(tenant) as connection:
        server = list_servers(connection, tenant, key=b"", limit=1).rows[0].server
    paths = {
        "the report, 50 rows": "/",
        "a filter of it": "/?show=action",
        "one server's page": f"/servers/{server}",
        "API: list of 50": "/v1/servers",
        "API: one server": f"/v1/servers/{server}",
        "API: history of 90 days": "/v1/history?first=2026-09-01&last=2026-11-29",
    }
    async with serving(settings) as (address, pid):
        found: dict[str, Any] = {name: await ask(address, path, tenant) for name, path in paths.items()}
        for name, path in (("export as CSV", "servers.csv"), ("export as JSON lines", "servers.jsonl")):
            found[name] = await export(address, f"/v1/export/{path}", tenant, pid)
        found["resident_mib"] = round(_resident(pid) / 2**20)
    return found


def served_lines(found: dict[str, Any], kinds: list[str]) -> list[str]:
    """What a server process on one core took for requests of that tenant at a steady rate, and its exports."""
    asked = [name for name, row in found[kinds[0]]["served"].items() if isinstance(row, dict) and "p99_ms" in row]
    exports = ("export as CSV", "export as JSON lines")
    return [
        f"| {RATE} requests a second, p50 / p99 in ms | " + " | ".join(kinds) + " | bytes |",
        "|---|" + "---|" * (len(kinds) + 1),
        *(
            f"| {name} | "
            + " | ".join("{p50_ms} / {p99_ms}".format(**found[kind]["served"][name]) for kind in kinds)
            + f" | {found[kinds[0]]['served'][name]['bytes']:,} |"
            for name in asked
        ),
        "",
        *(
            f"{name.capitalize()} over HTTP: "
            + ", ".join(
                "{rows_per_second:,} rows/s, {grown_mib} MiB more memory".format(**found[kind]["served"][name])
                + f" ({kind})"
                for kind in kinds
            )
            + "."
            for name in exports
        ),
        "Resident: " + ", ".join(f"{found[kind]['served']['resident_mib']} MiB ({kind})" for kind in kinds) + ".",
        "",
    ]


def _application() -> Any:
    settings = read_report_settings()
    database = open_database(settings)
    engine, read_model, ledger = Engine(database), ReadModel(database), Ledger(open_ledger(settings))
    ports = PagePorts(
        read_model, engine, engine, engine, wall_clock_ms, shipped_catalogue(), is_secure=False, ledger=ledger
    )
    handlers = [api_router(), *page_handlers(ports)]
    provided = {"read_model": read_model, "commands": engine, "coming": engine, "ledger": ledger}
    return make_application(handlers, _believe, provided, requests_a_minute=10**9)


def _believe(app: ASGIApp) -> ASGIApp:
    """Middleware: the caller is of the tenant that the request names."""

    async def believed(scope: Scope, receive: Receive, send: Send) -> None:
        tenant = dict(scope["headers"]).get(TENANT.encode(), b"").decode()
        scope["user"], scope["auth"] = Caller("bench", "bench", AccessRole.TENANT_ADMIN, tenant), None
        await app(scope, receive, send)

    return believed


async def _serve() -> None:
    server = WebServer(_application())
    await server.start("127.0.0.1", 0)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())
