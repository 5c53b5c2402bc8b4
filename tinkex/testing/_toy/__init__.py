"""The toy language model of the fake server."""
