"""Reads the topics into the tables: one process at a time, each failure told once and waited for."""
