"""Celery tasks that sample, for a worker of the default pool (prefork)."""

import celery
from celery.signals import worker_process_shutdown
from sampling import sampling_client, service

import tinkex

tasks = celery.Celery("tasks")
tasks.config_from_object("celeryconfig")


@tasks.task(bind=True, acks_late=True, max_retries=3)
def complete(self, tokens):
    """Return the tokens that follow; try again later where nothing can have run."""
    params = tinkex.SamplingParams(max_tokens=16)
    try:
        future = sampling_client().sample(tokens, params, timeout=600)
        return future.result().sequences[0].tokens
    except tinkex.TinkexError as error:
        if not error.retryable or getattr(error, "may_have_run", False):
            raise
        raise self.retry(exc=error, countdown=getattr(error, "retry_after", None) or 30) from error


@worker_process_shutdown.connect
def end(**_):
    """Finish the session: Celery's processes end without running exit handlers."""
    service.close()
