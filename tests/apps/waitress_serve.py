"""Serves the Flask application with waitress; what runs when SIGTERM comes is answered first."""

import signal
import sys

import waitress
from flask_app import app
from sampling import service


def end(*_: object) -> None:
    """Leave the block below, which closes the service."""
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
with service:
    waitress.serve(app, listen=sys.argv[1], threads=32)
