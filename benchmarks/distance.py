"""A server far away: what it is sent, and what it answers, arrives later, but no slower.

Run as a process of its own, so that no contender shares its interpreter with it:
``python benchmarks/distance.py HOST PORT DELAY_MS`` prints the port to connect to, and ends with
its standard input. Half of the delay is added each way, so DELAY_MS is what a round trip gains.

Threads, since an event loop's timers are a millisecond coarse, and the shortest way is that long.
"""

import contextlib
import queue
import socket
import sys
import threading
import time

PIECE_BYTES = 1 << 18
# 32 MiB: what is under way at 1 GB/s and 32 ms. A bound for memory, not for bandwidth.
MOST_PIECES = 128


class OneWay:
    """Takes pieces from one end, and hands each to the other when its time has come."""

    def __init__(self, source: socket.socket, target: socket.socket, seconds: float) -> None:
        self._source = source
        self._target = target
        self._seconds = seconds
        self._under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(MOST_PIECES)
        for step in (self._take, self._hand_over):
            threading.Thread(target=step, daemon=True).start()

    def _take(self) -> None:
        data = b"-"
        while data:
            try:
                data = self._source.recv(PIECE_BYTES)
            except OSError:
                data = b""
            self._under_way.put((time.monotonic() + self._seconds, data))

    def _hand_over(self) -> None:
        data = b"-"
        while data:
            due, data = self._under_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            with contextlib.suppress(OSError):
                self._target.sendall(data) if data else self._target.shutdown(socket.SHUT_WR)


def serve(host: str, port: int, seconds: float) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(listener, host, port, seconds), daemon=True).start()
    sys.stdin.read()


def accept(listener: socket.socket, host: str, port: int, seconds: float) -> None:
    while True:
        near, _ = listener.accept()
        far = socket.create_connection((host, port))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        OneWay(near, far, seconds)
        OneWay(far, near, seconds)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 2000)
