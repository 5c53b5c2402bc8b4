"""The API client: endpoints, responses, credentials, retries, the session with its heartbeats and flags."""
