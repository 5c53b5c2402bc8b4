from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from stepping import at_once, real_jobs

from tinkex._runtime.byte_semaphore import AcquireBytes, ByteSemaphore
from tinkex._runtime.task import ScheduledTask


def test_under_threads():
    """Many tasks on several workers, some interrupted: all end, and every byte comes back."""

    def coroutine(budget, size):
        for _ in range(5):
            reserved = yield AcquireBytes(budget, size)
            reserved.release()

    with real_jobs(workers=3) as scheduler:
        budget = ByteSemaphore(lambda: 20)
        futures = [Future() for _ in range(200)]
        made = [
            ScheduledTask(scheduler, partial(coroutine, budget, 1 + at % 30), future)
            for at, future in enumerate(futures)
        ]

        def launch():
            for task in made:
                scheduler.launch(task)

        def cancel():
            for task in made[::3]:
                task.cancel()

        at_once(launch, cancel)
        for future in futures:
            future.exception(10)
        pool = scheduler.workers
        pool.shutdown()
        pool.join(10)
    assert budget.out == 0
    assert not budget._queue
