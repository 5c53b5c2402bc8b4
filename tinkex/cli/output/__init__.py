"""Terminal output: tables, texts, tokens, JSON."""
