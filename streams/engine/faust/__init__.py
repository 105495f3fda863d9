"""The engine as a Faust worker: group membership, fetching, the way to the partitions.

It may import what `engine` may, and is the only room that imports Faust.
"""
