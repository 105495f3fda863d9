"""Alembic's migrations of the read model."""
