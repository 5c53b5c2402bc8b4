"""Reading of batch outputs: rows as typed results, and tables for data-frame libraries."""
