"""Bytewax: Kafka source, stateful step, Kafka sink, one worker, recovery store in SQLite, an epoch a second.

It commits nothing to Kafka and has no changelog: the run ends when the source is exhausted and the last snapshot is in
SQLite.
"""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main
from confluent_kafka import OFFSET_BEGINNING

from benchmarks.peers import job


def flow_of(arguments: job.Arguments) -> Dataflow:
    """The dataflow of the job."""

    def decode(message: Any) -> tuple[str, dict[str, Any]]:
        arguments.progress.add()
        connection = job.decode(message.value)
        return job.key_of(connection), connection

    def step(state: list[Any] | None, connection: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
        state, has_changed = job.apply(state, connection)
        return state, [job.verdict_of(connection, state)] if has_changed else []

    flow = Dataflow("race")
    source = KafkaSource(
        [arguments.bootstrap], [arguments.topic], starting_offset=OFFSET_BEGINNING, tail=False, batch_size=2000
    )
    keyed = op.map("decode", op.input("in", flow, source), decode)
    verdicts = op.stateful_flat_map("servers", keyed, step)
    messages = op.map("encode", verdicts, lambda item: KafkaSinkMessage(item[0].encode(), job.encode_verdict(item[1])))
    op.output("out", messages, KafkaSink([arguments.bootstrap], arguments.output))
    return flow


def main() -> None:
    """Run to the end of the feed."""
    arguments = job.Arguments()
    Path(arguments.folder).mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", arguments.folder, "1"], check=True)
    recovery = RecoveryConfig(arguments.folder, backup_interval=timedelta(0))
    cli_main(flow_of(arguments), epoch_interval=timedelta(seconds=1), recovery_config=recovery)
    arguments.progress.end()


if __name__ == "__main__":
    main()
