"""The report: what administrators see. `store` is its read model in SQL, `reading` fills it from the topics.

`queries` asks the read model; an API and a page call it and nothing else. It may import what `worker` may.
"""
