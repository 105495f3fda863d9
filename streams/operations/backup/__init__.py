"""Copies of all topics of the product in files, and the way back.

It may import what `operations` may.
"""
