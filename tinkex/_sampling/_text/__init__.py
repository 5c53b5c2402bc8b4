"""The calls of a sampling client that take text, and their options."""
