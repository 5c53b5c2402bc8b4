"""Bulk input: rows are read, checked, and become tasks."""
