"""Moves the product to topics with another partition count.

It may import what `operations` may.
"""
