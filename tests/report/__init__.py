"""The read model of the report, on SQLite and on a real PostgreSQL."""
