"""The reader against a real Kafka."""
