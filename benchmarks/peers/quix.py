"""Quix Streams: a stateful function on a dataframe; state per message key (the tenant), RocksDB, changelog topic."""

from __future__ import annotations

from typing import Any

from quixstreams import Application, State
from quixstreams.models import Deserializer, Serializer

from benchmarks.peers import job


class ConnectionDeserializer(Deserializer):
    """The product's Avro."""

    def __call__(self, value: bytes, ctx: Any) -> dict[str, Any]:
        return job.decode(value)


class VerdictSerializer(Serializer):
    """The peers' Avro."""

    def __call__(self, value: dict[str, Any], ctx: Any) -> bytes:
        return job.encode_verdict(value)


def main() -> None:
    """Run until the race ends the process."""
    arguments = job.Arguments()
    app = Application(
        broker_address=arguments.bootstrap,
        consumer_group=arguments.group,
        auto_offset_reset="earliest",
        state_dir=arguments.folder,
        processing_guarantee=arguments.options["guarantee"],
        commit_interval=1.0,
        loglevel="INFO",
    )
    source = app.topic(arguments.topic, key_deserializer="str", value_deserializer=ConnectionDeserializer())
    target = app.topic(arguments.output, key_serializer="str", value_serializer=VerdictSerializer())

    def process(connection: dict[str, Any], state: State) -> dict[str, Any] | None:
        arguments.progress.begin()
        kept, has_changed = job.apply(state.get(connection["helo"]), connection)
        state.set(connection["helo"], kept)
        arguments.progress.add()
        return job.verdict_of(connection, kept) if has_changed else None

    frame = app.dataframe(source).apply(process, stateful=True).filter(lambda verdict: verdict is not None)
    frame.to_topic(target, key=lambda verdict: f"{verdict['tenant_id']}/{verdict['server']}")
    app.run()


if __name__ == "__main__":
    main()
