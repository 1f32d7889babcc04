"""Lets a refused login be seen, which kafka-python tries again in silence until time is up."""

from typing import Any

import kafka.errors as driver
from kafka.net.manager import KafkaConnectionManager

_Manager: Any = KafkaConnectionManager

_REFUSALS = (
    driver.SaslAuthenticationFailedError,
    driver.UnsupportedSaslMechanismError,
    driver.IllegalSaslStateError,
    driver.AuthorizationError,
)


class OutspokenManager(_Manager):  # type: ignore[misc]
    """A connection manager that raises the broker's refusal at the next attempt to connect.

    Its base means to do so, but never gets to know: the connection swallows the failure while it
    is set up (3.0.12).
    """

    _refusal: BaseException | None = None

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """The connection to a node, unless the broker has refused the login.

        Raises:
            KafkaError: The refusal.
        """
        if self._refusal is not None:
            raise self._refusal
        connection = super().get_connection(*args, **options)
        if not connection.init_future.is_done:
            connection.init_future.add_errback(self._note)
        return connection

    def _note(self, error: BaseException) -> None:
        if isinstance(error, _REFUSALS):
            self._refusal = error
