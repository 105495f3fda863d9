"""What several tests share: builders of records, feeds, servers that answer on loopback, waits for a real worker."""
