"""Who calls: what a token or a session says, checked, and what each role may do.

It imports the settings, the checks of the domain, and libraries for tokens and HTTP. It knows neither the database nor
what is shown.
"""
