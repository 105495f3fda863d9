"""Transport-based enforcement: judges, throttles and blocks mail from unpatched Exchange servers.

The worker (`worker.app`) judges connections; operators use the command line (`cli.main`), which starts the worker too.
"""
