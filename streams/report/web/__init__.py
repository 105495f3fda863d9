"""HTTP beneath the API and the page: the application, problems, limits, request ids, and the server.

It imports what calls are checked by (`access`) and the database. What is shown is not its matter.
"""
