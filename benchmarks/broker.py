"""The product's embedded Kafka with the heap and the compiler that a broker under load needs."""

from __future__ import annotations

from streams.dev.embedded_kafka import EmbeddedKafka

_JVM_FLAGS = ("-Xmx1g", "-XX:TieredStopAtLevel=4")
"""They follow the product's flags, which ask for a quick start and little memory; of two, the last one counts."""


class RaceKafka(EmbeddedKafka):
    """The broker of the races."""

    def _start(self, jvm_flags: list[str]) -> str:
        return super()._start([*jvm_flags, *_JVM_FLAGS])
