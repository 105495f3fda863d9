"""Policies and catalogues: the shipped ones, files, and the topics that they are published on.

It may import `wire`, `kafka` and all below.
"""
