"""Programs that do something again and again, and look at what it leaves behind."""

from __future__ import annotations

from programs import succeed

COUNT = """
import gc, resource

def open_files():
    return len(os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"))

def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def settle():
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    gc.collect()
    return threading.active_count(), open_files()

"""


def measure(body, server, **options):
    """Run `body`, a loop's content, until things have settled, and again: threads, files and memory stay."""
    program = COUNT + "def once():\n" + body + "\nonce()\nbefore, size = settle(), memory()\n"
    program += "for _ in range(3):\n    once()\n"
    program += "after = settle()\nassert after == before, (before, after)\n"
    program += "assert memory() - size < 12 * 2**20, (memory() - size) // 2**20\n"
    succeed(program, server.url, **options)
