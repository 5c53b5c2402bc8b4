"""Validation: single values, call arguments, attrs fields. Every message names the field."""
