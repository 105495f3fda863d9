"""The HTTP API `/v1`: what the read model knows as JSON, exports, and commands to the engine.

It imports the queries, who calls (`access`) and what is beneath it (`web`). The page does not import it.
"""
