"""Who is told what, where and when, and what became of it: the ledger of notices, with its tables in SQL.

The report shows and changes it, `notify` delivers from it. It knows neither Kafka nor any network.
"""
