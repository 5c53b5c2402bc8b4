"""Command-line options: the server, the model, the prompt, the settings."""
