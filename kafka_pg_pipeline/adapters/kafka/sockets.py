"""Makes up for what kafka-python (3.0.12) gets wrong about sockets.

It forgets the socket of an attempt that is refused, times out, or fails or hangs in the TLS
handshake, and that of a client that is closed before its last request is sent, and leaves it to
the garbage collector, which may not come by for hours: an outage would cost a descriptor for each
attempt.

And it throws away what a broker sent right before hanging up, such as the reason why it did.
"""

import socket
import ssl
from typing import Any

from kafka.net.inet import KafkaNetSocket
from kafka.net.selector import NetworkSelector

DIRECT = "direct://"

_NetSocket: Any = KafkaNetSocket
_Selector: Any = NetworkSelector


class _PatientSocket(socket.socket):
    """Reports the end of the stream in a read of its own, so that the data before it counts."""

    _has_unreported_data = False

    def recv(self, *args: Any) -> bytes:
        """Receive, as every socket does; would block once between data and the end."""
        data = super().recv(*args)
        if not data and self._has_unreported_data:
            self._has_unreported_data = False
            raise BlockingIOError
        self._has_unreported_data = bool(data)
        return data


class OpenSockets:
    """The connections that somebody still has to close."""

    def __init__(self) -> None:
        self._known: set[socket.socket] = set()

    def remember(self, sock: socket.socket) -> None:
        """Keep a connection in mind until it is closed."""
        self._known = {known for known in self._known if known.fileno() >= 0} | {sock}

    def close(self) -> None:
        """Close whatever is still open."""
        for sock in self._known:
            sock.close()


class ClosingSelector(_Selector):  # type: ignore[misc]
    """The event loop of one client; closed with the connections that were made on it."""

    def __init__(self, **configs: Any) -> None:
        super().__init__(**configs)
        self.sockets = OpenSockets()

    def close(self) -> None:
        """End the loop, and with it what waited to be sent."""
        super().close()
        self.sockets.close()


class ClosingSocket(_NetSocket):  # type: ignore[misc]
    """A direct connection, chosen by ``proxy_url=DIRECT``; closed when it fails."""

    SCHEMES = ("direct",)

    def socket(self, *args: Any) -> socket.socket:
        """Make the socket of one attempt."""
        return _PatientSocket(*args)

    async def sock_connect(
        self, net: Any, sock: Any, sockaddr: Any, timeout_at: float | None = None
    ) -> Any:
        """Connect ``sock``, or close it."""
        if isinstance(net, ClosingSelector):
            net.sockets.remember(sock)
        try:
            return await super().sock_connect(net, sock, sockaddr, timeout_at=timeout_at)
        except BaseException:
            sock.close()
            raise


class ClosingTlsSocket(ssl.SSLSocket):
    """A TLS connection that its context remembers; closed when the handshake fails."""

    _has_unreported_data = False

    def recv(self, *args: Any) -> bytes:
        """Receive; would block once between data and the end, as ``_PatientSocket`` does."""
        data = super().recv(*args)
        if not data and self._has_unreported_data:
            self._has_unreported_data = False
            raise ssl.SSLWantReadError
        self._has_unreported_data = bool(data)
        return data

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - inherited
        """Take the handshake a step further."""
        if isinstance(self.context, ClosingTlsContext):
            self.context.sockets.remember(self)
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            self.close()
            raise


class ClosingTlsContext(ssl.SSLContext):
    """A client's TLS settings, and the connections made with them."""

    sslsocket_class = ClosingTlsSocket

    def __init__(self, *_: object) -> None:
        # Among them a handshake that nobody answered.
        self.sockets = OpenSockets()
