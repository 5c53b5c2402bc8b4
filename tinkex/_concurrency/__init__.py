"""Threads, queues, locks and clocks: what the runtime is built of."""
