"""The promises of a port that only a real broker can keep."""
