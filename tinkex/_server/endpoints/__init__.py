"""The endpoints of the server, by area."""
