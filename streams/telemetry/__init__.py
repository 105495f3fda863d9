"""What a process shows of itself: logs, metrics, traces, probes.

It may import `service`, `engine` and all below.
"""
