"""Brings the shipped catalogue tables up to a checkout of CSS-Exchange.

It may import what `dev` may.
"""
