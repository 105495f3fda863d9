"""A Kafka of its own for the verifier's tests."""

from tests.integration.conftest import bootstrap

__all__ = ["bootstrap"]
