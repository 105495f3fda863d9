"""Plays scenarios, several at once: most of their time they wait for a session to end or a process to start."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from streams.dev.embedded_kafka import EmbeddedKafka, ensure_jars
from streams.settings.worker import Settings
from tests.chaos import scenarios
from tests.chaos.disk import CannotBeDoneError
from tests.chaos.scenario import SCENARIOS, Scenario
from tests.chaos.trial import TAIL, ChaosError, Trial

__all__ = ["JOBS", "SCENARIOS", "Result", "play_all", "reason", "scenarios", "summary"]

JOBS = 4
SHORT_SECONDS, LONG_SECONDS = 900.0, 7200.0
"""A scenario that takes longer hangs."""
PARTITIONS = 3
SESSION_SECONDS = 6.0
REASON_LINES, REASON_CHARS = 20, 400
"""Of a failure in the summary."""
STALL_SECONDS = 240.0
"""On a machine that is busy with much else, a sound worker may take a minute for a unit."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a scenario ended: stood it where both texts are empty, could not be done, or failed."""

    seconds: float
    error: str = ""
    not_done: str = ""


async def play_all(names: Sequence[str], seed: int, is_short: bool, kills: int, jobs: int = JOBS) -> dict[str, Result]:
    """Play the scenarios; every one gets its own corner of the cluster, or a broker of its own."""
    _say("chaos", f"seed {seed}, {len(names)} scenarios, {'short' if is_short else 'long'} form, {kills} random kills")
    player = asyncio.current_task()
    assert player is not None
    for which in (signal.SIGINT, signal.SIGTERM):  # end the workers and brokers that run
        asyncio.get_running_loop().add_signal_handler(which, player.cancel)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # of a broker that is away one knows
    folder = Path(tempfile.mkdtemp(prefix="tes-chaos-"))
    shared = EmbeddedKafka(folder / "kafka", jars_dir=await asyncio.to_thread(ensure_jars))
    room = asyncio.Semaphore(jobs)
    results: dict[str, Result] = {}

    async def one(name: str) -> None:
        async with room:
            results[name] = await _play(SCENARIOS[name], seed, is_short, kills, shared, folder / name)

    try:
        await asyncio.to_thread(shared.start)
        async with asyncio.TaskGroup() as group:
            for name in sorted(names, key=lambda name: not SCENARIOS[name].takes_long):
                group.create_task(one(name))
    finally:
        await asyncio.to_thread(shared.stop)
        if not (any(result.error for result in results.values()) or os.environ.get("CHAOS_KEEP")):
            shutil.rmtree(folder, ignore_errors=True)
    for line in summary(results, seed, is_short, folder):
        _say("chaos", line)
    return results


async def _play(
    scenario: Scenario, seed: int, is_short: bool, kills: int, shared: EmbeddedKafka, folder: Path
) -> Result:
    folder.mkdir(parents=True)
    begun = time.monotonic()
    kafka = EmbeddedKafka(folder / "kafka", jars_dir=ensure_jars()) if scenario.owns_broker else shared
    trial: Trial | None = None
    error = not_done = ""
    try:
        async with asyncio.timeout(SHORT_SECONDS if is_short else LONG_SECONDS):
            if scenario.owns_broker:
                await asyncio.to_thread(kafka.start)
            trial = _trial(scenario, seed, is_short, kills, kafka, folder)
            await scenario.play(trial)
    except CannotBeDoneError as reason:
        not_done = str(reason)
    except ChaosError as found:
        error = str(found)
    except TimeoutError:
        error = f"it hangs: {trial.tail() if trial else 'the broker does not start'}"
    except Exception as broken:  # noqa: BLE001 - a scenario that breaks is a failed one
        error = f"{type(broken).__name__}: {broken}: {trial.tail() if trial else ''}"
    finally:
        if trial is not None:
            await trial.close()
        if scenario.owns_broker:
            await asyncio.to_thread(kafka.stop)
    result = Result(time.monotonic() - begun, error, not_done)
    verdict = f"FAILED: {error}" if error else f"NOT DONE: {not_done}" if not_done else "stood it"
    _say(scenario.name, f"{verdict} ({result.seconds:.0f} s)")
    return result


def _trial(scenario: Scenario, seed: int, is_short: bool, kills: int, kafka: EmbeddedKafka, folder: Path) -> Trial:
    settings = Settings(
        bootstrap=kafka.bootstrap,
        app_id=f"tes-{scenario.name}",
        topic_prefix=f"{scenario.name}.",
        partitions=PARTITIONS,
        state_dir=str(folder / "state"),
        session_timeout_seconds=SESSION_SECONDS,
        # Small units, so that a small feed has many.
        gather_seconds=0.05,
        # A consumer whose broker came back may sit still for ever; where it dies, its worker must end as it is shipped.
        stall_seconds=Settings().stall_seconds if scenario.owns_broker else STALL_SECONDS,
    )
    return Trial(scenario.name, seed, is_short, kills, kafka, folder, settings, lambda text: _say(scenario.name, text))


def _say(name: str, text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {name}: {text}", flush=True)


def summary(results: Mapping[str, Result], seed: int, is_short: bool, folder: Path) -> list[str]:
    """What a run came to. Each failure stands at the very end with its reason, where a log that is cut still has it."""
    failed = {name: result.error for name, result in results.items() if result.error}
    not_done = {name: result.not_done for name, result in results.items() if result.not_done}
    stood = len(results) - len(failed) - len(not_done)
    short = " --short" if is_short else ""
    return [
        *(f"NOT DONE: {name}: {why}" for name, why in not_done.items()),
        f"seed {seed}: {stood} stood it, {len(failed)} failed, {len(not_done)} could not be done",
        *(
            f"FAILED: {name}: scripts/chaos{short} --only {name} --seed {seed}; its files are in {folder / name}\n"
            f"  {reason(error)}"
            for name, error in failed.items()
        ),
    ]


def reason(error: str) -> str:
    """The first lines of an error, without the ends of logs behind them."""
    lines = list(takewhile(lambda line: not line.endswith(TAIL), error.splitlines()))
    more = [f"  and {len(lines) - REASON_LINES} more lines"] if len(lines) > REASON_LINES else []
    return "\n  ".join([line[:REASON_CHARS] for line in lines[:REASON_LINES]] + more)
