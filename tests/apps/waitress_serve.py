"""Serves the Flask application with waitress; what runs when SIGTERM comes is answered first."""

import signal
import sys

import waitress
from flask_app import app, service

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with service:
    waitress.serve(app, listen=sys.argv[1], threads=32)
