"""The door over HTTP, for MTAs that speak no milter protocol."""
