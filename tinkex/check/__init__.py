"""Conformance checks of servers: whether a server samples as it is asked to, shown by sampling from it."""
