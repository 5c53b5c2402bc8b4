"""Number columns and token ids: the representations that results and prompts share."""
