"""Races the shipped worker against other stream processors on one feed and one real Kafka."""
