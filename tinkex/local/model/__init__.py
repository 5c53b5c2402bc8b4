"""Model runtimes: GGUF files, weights, and the forward pass."""
