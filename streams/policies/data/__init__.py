"""The built-in catalogue and policies, as files."""
