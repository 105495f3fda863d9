"""Mail that comes back: taken from the relay over LMTP, read, and written into the ledger."""
