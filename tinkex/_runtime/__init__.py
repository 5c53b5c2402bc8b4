"""The task runtime: coroutines on worker threads, resumed by a reactor thread that watches sockets and timers."""
