"""The service in one process: its parts put together, its lifecycle, shutdown, telemetry, statistics and reads."""
