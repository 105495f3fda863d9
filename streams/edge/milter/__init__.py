"""The milter: a door for Postfix and Sendmail, by version 6 of the milter protocol.

`codec.py` knows the bytes, `session.py` the order of things in an SMTP connection, `server.py` the sockets.
"""
