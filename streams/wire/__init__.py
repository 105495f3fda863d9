"""Bytes to records and back: Avro, schemas and their ids, the JSON of records.

It may import `kafka` (the names of topics), `settings` and `domain`.
"""
