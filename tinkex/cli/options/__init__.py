"""Command-line options: the server, the model, the prompt, the settings."""

from __future__ import annotations
