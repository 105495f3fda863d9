"""The `tes` command line."""
