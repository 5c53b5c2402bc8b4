"""Between a client and a server, in threads, for tests: a proxy, and a relay that only passes bytes on."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Relay:
    """Listens on a port of its own and passes every connection on to `target`, a host and a port."""

    def __init__(self, target=None, host="127.0.0.1"):
        self._target = target
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self._open = {self._listener}
        self._threads = []
        self.port = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"

    def __enter__(self):
        self._start(self._serve)
        return self

    def __exit__(self, *_):
        for each in tuple(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _start(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.add(client)
                self._start(self._answer, client)

    def _answer(self, client):
        with contextlib.suppress(OSError), client:
            self.connect(client, self._target, b"")

    def connect(self, client, target, first):
        """Connect to `target`, send it `first`, and pass on what comes until either side ends."""
        with socket.create_connection(target, 5) as server:
            server.settimeout(None)
            self._open.add(server)
            server.sendall(first)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()


class Gateway(Relay):
    """A relay that gives up on the requests it holds when the test says so."""

    def __init__(self, target):
        super().__init__(target)
        self._holding = set()
        self.url = f"http://{self.address}"

    def connect(self, client, target, first):
        """The same as a relay's."""
        with socket.create_connection(target, 5) as server:
            server.settimeout(None)
            self._open.add(server)
            request, answer = (lambda: self._holding.add(client)), (lambda: self._holding.discard(client))
            back = threading.Thread(target=_pump, args=(server, client, answer), daemon=True)
            back.start()
            _pump(client, server, request)
            back.join()

    def cut(self, answer=b""):
        """Close the connections that wait for an answer, after one of the gateway's own where it has one."""
        for client in tuple(self._holding):
            self._holding.discard(client)
            with contextlib.suppress(OSError):
                client.sendall(answer)
                client.shutdown(socket.SHUT_RDWR)


class Proxy(Relay):
    """Forwards plain HTTP, tunnels for CONNECT, notes what it was `asked`; may want a credential, or talk nonsense."""

    def __init__(self, user=None, password=None, *, nonsense=b""):
        super().__init__()
        self.asked = []
        self._nonsense = nonsense
        self._credential = user and base64.b64encode(f"{user}:{password}".encode())
        self.url = f"http://{self.address}"

    def _answer(self, client):
        with contextlib.suppress(OSError), client:
            data = b""
            while b"\r\n\r\n" not in data:
                if not (piece := client.recv(65536)):
                    return
                data += piece
            line = data.partition(b"\r\n")[0].decode()
            self.asked.append(line)
            method, target, _ = line.split(" ")
            host, _, port = (target if method == "CONNECT" else urlsplit(target).netloc).rpartition(":")
            if self._nonsense:
                client.sendall(self._nonsense)
            elif self._credential and b"roxy-authorization: Basic " + self._credential not in data.replace(
                b"-A", b"-a"
            ):
                client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif method == "CONNECT":
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                self.connect(client, (host.strip("[]"), int(port)), b"")
            else:
                self.connect(client, (host.strip("[]"), int(port)), data)


def _pump(source, sink, passing=lambda: None):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            passing()
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
