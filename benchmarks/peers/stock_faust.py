"""Stock Faust: records, codecs and a RocksDB table, one event at a time, its own defaults."""

from __future__ import annotations

from typing import Any

import faust
from faust.serializers import codecs
from faust.worker import Worker

from benchmarks.peers import job


class ConnectionCodec(codecs.Codec):
    """The product's Avro."""

    def _dumps(self, obj: object) -> bytes:
        raise NotImplementedError(f"connections are only read: {obj!r:.80}")

    def _loads(self, s: bytes) -> object:
        return job.decode(s)


class VerdictCodec(codecs.Codec):
    """The peers' Avro."""

    def _dumps(self, obj: dict[str, Any]) -> bytes:
        return job.encode_verdict(obj)

    def _loads(self, s: bytes) -> object:
        return job.decode_verdict(s)


codecs.register("race_connection", ConnectionCodec())
codecs.register("race_verdict", VerdictCodec())


def main() -> None:
    """Run until the race ends the process."""
    arguments = job.Arguments()
    app = faust.App(
        arguments.group,
        broker=f"kafka://{arguments.bootstrap}",
        store="rocksdb://",
        datadir=arguments.folder,
        web_enabled=False,
        topic_partitions=job.PARTITIONS,
        topic_disable_leader=True,
        table_standby_replicas=0,
        topic_replication_factor=1,
    )
    source = app.topic(arguments.topic, key_type=str, value_serializer="race_connection")
    target = app.topic(arguments.output, key_type=str, value_serializer="race_verdict")
    servers = app.Table("servers")

    @app.agent(source)
    async def process(stream: Any) -> None:
        async for connection in stream:
            arguments.progress.begin()
            key = job.key_of(connection)
            state, has_changed = job.apply(servers.get(key), connection)
            servers[key] = state
            if has_changed:
                await target.send(key=key, value=job.verdict_of(connection, state))
            arguments.progress.add()

    Worker(app, loglevel="INFO", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
