"""The dialect of the gateway, without HTTP: request bodies are read, sampled, and answered as JSON has it."""
