"""Settings of gunicorn; PROMETHEUS_MULTIPROC_DIR is a folder that is empty when it starts."""

from prometheus_client import multiprocess


def child_exit(server, worker):
    """Drop what a worker that has ended had in flight; what it has counted stays."""
    multiprocess.mark_process_dead(worker.pid)
