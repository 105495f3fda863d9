"""From a record to decisions: one module per input topic."""
