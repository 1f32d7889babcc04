"""A TCP proxy between loader and PostgreSQL that loses, cuts or delays what passes through it."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum

import pytest

# The simple-query message that psycopg2 sends for COMMIT: type byte, length, text, NUL.
_COMMIT = b"COMMIT\0"
_COPY = b"FROM STDIN"
_GOODBYE = b"X\x00\x00\x00\x04"
_PIECE_BYTES = 65536


class Loss(Enum):
    """What is lost for good, on one connection, from a batch's COMMIT on."""

    ANSWER = "COMMIT reaches the server, nothing comes back"
    COMMIT = "nothing reaches the server, not even that the client hangs up"


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: socket.socket, server: socket.socket, proxy: "Proxy") -> None:
        self._client = client
        self._server = server
        self._proxy = proxy
        self._is_marked = False
        self._loss: Loss | None = None
        self._waits = False
        self._threads = [
            threading.Thread(target=self._forward_requests),
            threading.Thread(target=self._forward_answers),
        ]
        for thread in self._threads:
            thread.start()

    def cut(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _forward_requests(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(_PIECE_BYTES):
                self._count(data)
                self._watch(data)
                if self._loss is not Loss.COMMIT:
                    self._pass_on(data, self._server)
            if self._loss is not Loss.COMMIT:
                self._server.shutdown(socket.SHUT_WR)

    def _forward_answers(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(_PIECE_BYTES):
                self._waits = False
                if self._loss is None:
                    self._pass_on(data, self._client)
            if self._loss is None:
                self._client.shutdown(socket.SHUT_WR)

    def _count(self, data: bytes) -> None:
        """One round trip is all that is sent until something comes back."""
        self._proxy.round_trips += not self._waits and not data.startswith(_GOODBYE)
        self._waits = True

    def _watch(self, data: bytes) -> None:
        """Tell the COMMIT of a transaction that holds the proxy's mark from all others."""
        self._is_marked = self._is_marked or self._proxy.mark in data
        if data.endswith(_COMMIT):
            if self._is_marked and self._loss is None:
                self._loss = self._proxy.take_loss()
            self._is_marked = False

    def _pass_on(self, data: bytes, end: socket.socket) -> None:
        if self._proxy.delay_seconds:
            time.sleep(self._proxy.delay_seconds)
        end.sendall(data)


class Proxy:
    """Forwards connections to one server, faithfully until told otherwise.

    ``delay_seconds`` is waited before each piece of data, in both directions. ``round_trips`` are
    those that clients waited for.
    """

    def __init__(self, host: str, port: int) -> None:
        self.delay_seconds = 0.0
        self.losses = 0
        self.round_trips = 0
        self.mark = _COPY
        self._target = (host, port)
        self._next_loss: Loss | None = None
        self._lines: list[_Line] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def lose(self, loss: Loss, mark: bytes = _COPY) -> None:
        """Lose this at the next COMMIT of a transaction with ``mark`` in it, usually a batch's.

        Connections made later are whole again.
        """
        self.mark = mark
        self._next_loss = loss

    def take_loss(self) -> Loss | None:
        loss, self._next_loss = self._next_loss, None
        self.losses += loss is not None
        return loss

    def cut(self) -> None:
        """Drop all present connections."""
        for line in self._lines:
            line.cut()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for line in self._lines:
            line.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            self._lines.append(_Line(client, server, self))


@pytest.fixture
def make_proxy() -> Iterator[Callable[[str, int], Proxy]]:
    """Makes proxies to a host and port; they end with the test."""
    made: list[Proxy] = []

    def make(host: str, port: int) -> Proxy:
        made.append(Proxy(host, port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()
