"""A real Kafka whose cluster has the transactions of before `transaction.version` 2."""

from __future__ import annotations

from pathlib import Path

from streams.dev.embedded_kafka import EmbeddedKafka
from streams.dev.java import format_storage


class OldKafka(EmbeddedKafka):
    """It is formatted with the feature's version 1, as an upgraded cluster has it until somebody raises it.

    Nor does a leader ask the coordinator whether it knows of a transaction, as older ones did not.
    """

    def _format(self, settings: Path) -> None:
        if not (self._data_dir / "log").exists():
            options = ["--feature", "transaction.version=1"]
            format_storage(self._jars_dir, self._java, settings, self._data_dir, options)
        with settings.open("a") as file:
            file.write("transaction.partition.verification.enable=false\n")
