"""The tests of the kernels: they run where these are built, in the tree that `scripts/compile` makes."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("streams.worker.counting_kernel") else ["test_*.py"]
