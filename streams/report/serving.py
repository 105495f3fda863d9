"""API and page, served in the event loop of the report's process."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from streams.clock import wall_clock_ms
from streams.database.database import Database
from streams.notices.opening import open_ledger
from streams.operations.commands import command_client
from streams.policies.catalogue.files import shipped_catalogue
from streams.policies.configured import configured_policies, policy_topic_of
from streams.report.access.site import Site
from streams.report.access.wiring import Access
from streams.report.api.router import api_router
from streams.report.commanding import Commands
from streams.report.operating import Operating
from streams.report.page.routes import page_handlers
from streams.report.page.visits import PagePorts
from streams.report.queries.messages import outcome_of
from streams.report.rules import RulesInForce
from streams.report.web.application import make_application
from streams.report.web.commands import Outcome, outcome_told
from streams.report.web.ledger import Ledger
from streams.report.web.read_model import ReadModel
from streams.report.web.server import WebServer
from streams.settings.report import ReportSettings
from streams.wire.registry import registry_of


class Serving:
    """What serves callers: it asks the database and Kafka, and writes to neither table nor state."""

    def __init__(self, settings: ReportSettings, database: Database, access: Access) -> None:
        """Compose it; nothing is opened yet.

        Raises:
            ValueError: a policy that the settings name is malformed.
        """
        self._settings, self._access = settings, access
        topic, configured = policy_topic_of(settings), configured_policies(settings)
        self._read_model, self._ledger = ReadModel(database), Ledger(open_ledger(settings))
        self._rules = RulesInForce(topic, configured)
        self._commands = Commands(
            lambda: command_client(settings, registry_of(settings)), self._known_outcome, wall_clock_ms
        )
        operating = Operating(settings, topic, configured, time.monotonic)
        ports = PagePorts(
            self._read_model,
            self._commands,
            self._rules,
            operating,
            wall_clock_ms,
            shipped_catalogue(),
            Site(settings.public_url).is_secure,
            self._ledger,
        )
        provided = {
            "read_model": self._read_model,
            "commands": self._commands,
            "coming": self._rules,
            "ledger": self._ledger,
        }
        handlers = [api_router(), *page_handlers(ports), *access.routers]
        self._server = WebServer(make_application(handlers, access.identify, provided))
        self._following: asyncio.Task[None] | None = None

    async def _known_outcome(self, tenant: str, command_id: str) -> Outcome | None:
        found = await self._read_model.ask(tenant, lambda connection: outcome_of(connection, tenant, command_id))
        return None if found is None else outcome_told(command_id, found.record)

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
        """
        await self._access.start()
        host, port = self._settings.api_host, self._settings.api_port
        try:
            await self._server.start(host, port)
        except OSError as error:
            where = f"TES_REPORT_API_PORT: {port}: TES_REPORT_API_HOST {host}"
            raise OSError(error.errno, f"{where}: {error.strerror or error}") from None
        self._following = asyncio.create_task(self._rules.run())

    async def stop(self) -> None:
        """Answer what has begun, and end."""
        await self._server.stop()
        if self._following is not None:
            self._following.cancel()
            with suppress(asyncio.CancelledError):
                await self._following
        await self._commands.close()
        await self._access.close()
        self._read_model.close()
        self._ledger.close()
