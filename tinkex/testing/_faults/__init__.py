"""Fault injection for the fake server."""
