"""HTTP/1.1 over pooled, non-blocking connections."""
