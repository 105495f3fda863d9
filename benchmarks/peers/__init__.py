"""The comparable job on other engines, in an environment of their own: nothing here imports `streams`."""
