"""The page: what people see of the tables. View models are made by pure functions; templates only show them.

It imports HTTP (`web`), who calls (`access`), the questions to the tables (`queries`) and the domain.
"""
