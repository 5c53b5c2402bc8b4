"""Parts of a sample: its promise, and its state between submission and result."""
