"""Breaks the running service in every way that is promised to cost nothing, and checks what is left."""
