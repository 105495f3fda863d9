"""Writes transactions with the fewest requests that the cluster understands."""
