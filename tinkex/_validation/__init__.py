"""Validation: single values, call arguments, attrs fields. Every message names the field."""

from __future__ import annotations
