"""Render conversations with a model's chat template."""
