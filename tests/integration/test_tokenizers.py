from __future__ import annotations

import threading

from tinkex.tokenizers._loading_cache import LoadingCache


def test_many_threads_load_once():
    """Threads that ask together wait for one load and share what it gives."""
    store = LoadingCache(size=2)
    loads, started, go = [], threading.Event(), threading.Event()

    def load():
        loads.append(1)
        started.set()
        go.wait(5)
        return object()

    results = []
    threads = [threading.Thread(target=lambda: results.append(store.get("key", load))) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.wait(5)
    assert store.get("other", lambda: "free") == "free"  # another key is not held up
    go.set()
    for thread in threads:
        thread.join(5)
    assert len(loads) == 1
    assert len({id(result) for result in results}) == 1
