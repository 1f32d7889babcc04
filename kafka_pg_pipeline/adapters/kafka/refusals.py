"""Lets a refused login be seen, which kafka-python tries again in silence until time is up.

The same for certificates: one of the broker that cannot be proved, and ours where the broker does
not take it. No second attempt changes either.
"""

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


# OpenSSL's words, by what they are about. The alerts are the broker's answers to our certificate.
_UNPROVED = "certificate verify failed"
_OUR_CERTIFICATE = (
    "alert certificate required",
    "alert bad certificate",
    "alert certificate expired",
    "alert certificate revoked",
    "alert certificate unknown",
    "alert unknown ca",
)


class ServerCertificateError(driver.KafkaError):
    """The broker's certificate cannot be proved; says why in OpenSSL's words."""


class ClientCertificateError(driver.KafkaError):
    """The broker does not take our certificate, or wants one; says why in its words."""


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
        else:
            self._refusal = self._refusal or _find_certificate_error(str(error))


def _find_certificate_error(text: str) -> BaseException | None:
    words = text.lower().replace("_", " ")
    if _UNPROVED in words:
        reason = text.lower().rpartition(f"{_UNPROVED}: ")[2].partition(" (_ssl")[0]
        return ServerCertificateError(reason)
    alert = next((alert for alert in _OUR_CERTIFICATE if alert in words), None)
    return None if alert is None else ClientCertificateError(alert.removeprefix("alert "))
