"""Sets of tables in SQL, each with its own migrations, in SQLite files or in a schema of PostgreSQL."""
