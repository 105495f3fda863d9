"""What every implementation of a port promises: one class of tests for each port, run on each implementation."""
