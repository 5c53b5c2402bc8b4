"""Batch output: the ledger of finished rows, and the formats that rows are written in."""
