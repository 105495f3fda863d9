"""Alembic's migrations of the ledger of notices."""
