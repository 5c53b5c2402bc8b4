"""Statistics of an output file, gathered in one pass and bounded memory."""
