"""Breaks the edge in every way that is promised to lose and to delay nothing, and checks what is left."""
