"""`python -m streams.cli`: the same as `tes`."""

from streams.cli.start import run

run()
