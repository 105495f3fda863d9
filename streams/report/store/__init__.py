"""The read model in SQL: its tables on SQLite and PostgreSQL, their migrations, and the writer of batches."""
