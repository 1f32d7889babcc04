import socket
import time

import pytest
from kafka.net.transport import KafkaTCPTransport

from kafka_pg_pipeline.adapters.kafka.sockets import DIRECT, ClosingSelector, ClosingSocket


def connect_and_hang_up(words: bytes) -> socket.socket:
    """Our end of a connection whose other end said ``words`` and closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = ClosingSocket(DIRECT).socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        ours.connect(server.getsockname())
        theirs, _ = server.accept()
        theirs.sendall(words)
        theirs.close()
    time.sleep(0.05)
    ours.setblocking(False)
    return ours


def test_last_words_before_the_end_are_a_read_of_their_own():
    with connect_and_hang_up(b"wrong password") as ours:
        assert ours.recv(4096) == b"wrong password"
        with pytest.raises(BlockingIOError):
            ours.recv(4096)
        assert ours.recv(4096) == b""
        assert ours.recv(4096) == b""


def test_end_without_words_is_told_at_once():
    with connect_and_hang_up(b"") as ours:
        assert ours.recv(4096) == b""


def test_loop_that_is_closed_closes_a_connection_with_an_unsent_request():
    loop = ClosingSelector()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", server.getsockname())
        ours = loop.run(ClosingSocket(DIRECT).connect, loop, address)
        transport = KafkaTCPTransport(loop, ours)
        transport.write(bytes(1 << 26))  # more than the two ends buffer: nobody reads it
        loop.drain()
        transport.close()
        loop.close()
    assert ours.fileno() == -1
