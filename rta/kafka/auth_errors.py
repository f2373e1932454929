"""One sentence for each way in which a secured Kafka refuses a client: kafka-python, or Spark's in Java."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rta.errors import RefusedError, RtaError
from rta.settings import settings

_ASK: Final = "ask an administrator of the cluster for an ACL: DESCRIBE and READ to read, WRITE to publish, CREATE to create a topic"
# The error in Python, or in Java → what happened → what to do.
_SENTENCES: Final = (
    (
        r"SaslAuthenticationFailedError|SaslAuthenticationException",
        "Kafka refuses this user with this password",
        "correct RTA_KAFKA_SASL_USERNAME and RTA_KAFKA_SASL_PASSWORD, or RTA_KAFKA_SASL_MECHANISM",
    ),
    (
        r"UnsupportedSaslMechanism(Error|Exception)",
        "Kafka does not support this SASL mechanism",
        "set RTA_KAFKA_SASL_MECHANISM to one that the cluster supports",
    ),
    (
        r"VERIFY_FAILED\].*certificate has expired|CertificateExpiredException",
        "the certificate of the Kafka broker has expired",
        "tell an administrator of the cluster; if the certificate is new, check this machine's clock",
    ),
    (
        r"VERIFY_FAILED\].*mismatch|No subject alternative|No name matching .* found",
        "the certificate of the Kafka broker is for another host name",
        "use the name in the certificate in RTA_KAFKA_BOOTSTRAP; if it is there already, tell an administrator of the cluster",
    ),
    (
        r"VERIFY_FAILED\].*(self-signed|unable to get)|unable to find valid certification path",
        "the certificate of the Kafka broker is not from a trusted authority",
        "set RTA_KAFKA_SSL_CAFILE to the PEM file of the cluster's certificate authority",
    ),
    (
        r"(ALERT_|fatal alert: )(BAD_CERTIFICATE|CERTIFICATE_REQUIRED|bad_certificate|certificate_required)",
        "Kafka requires a client certificate, or does not trust ours",
        "set RTA_KAFKA_SSL_CERTFILE and RTA_KAFKA_SSL_KEYFILE",
    ),
    (
        r"NO_CERTIFICATE_OR_CRL_FOUND|\[SSL\] PEM lib|KEY_VALUES_MISMATCH|InvalidPemException|Failed to load PEM",
        "one of our certificate or key files is not valid PEM",
        "check RTA_KAFKA_SSL_CAFILE, RTA_KAFKA_SSL_CERTFILE and RTA_KAFKA_SSL_KEYFILE",
    ),
    (r"TopicAuthorization(FailedError|Exception)", "Kafka denies this user a topic", _ASK),
    (
        r"GroupAuthorization(FailedError|Exception)",
        "Kafka denies this user a consumer group",
        "ask an administrator of the cluster for an ACL: DESCRIBE to see it, READ to join it",
    ),
    (r"ClusterAuthorization(FailedError|Exception)", "Kafka denies this user the cluster", _ASK),
)  # fmt: skip
_DEEP: Final = 20  # at most this many chained causes
# Where the clients name the denied topic or group.
_NAMED: Final = re.compile(
    r"access (?:topics: \[|group: )([\w.-]+)|GROUP/([\w.-]+)|Topic\w*\([^)]*?name='([\w.-]+)'|FailedError: (?!Request|Find)\{?'?([\w.-]+)"
)


def refusal(error: BaseException | str) -> RefusedError | None:
    """Return the RefusedError for an error of a Kafka client or of Spark; None if Kafka has not refused us.

    >>> refusal("org.apache.kafka.common.errors.TopicAuthorizationException: Not authorized to access topics: [flights]")
    RefusedError('Kafka denies this user a topic; found: flights; ...')
    >>> refusal("java.lang.OutOfMemoryError: Java heap space") is None
    True
    """
    text = error if isinstance(error, str) else _said(error)
    for pattern, what, fix in _SENTENCES:
        if re.search(pattern, text):
            return RefusedError(what, found=_found(what, text), fix=fix)
    return None


@contextmanager
def raising_refused() -> Iterator[None]:
    """Re-raise authentication and authorization errors as RefusedError, without their page of Java; let all others pass.

    >>> with raising_refused():
    ...     raise OSError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired")
    Traceback (most recent call last):
    rta.errors.RefusedError: the certificate of the Kafka broker has expired; ...
    """
    try:
        yield
    except RtaError:
        raise
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        raise refused from None


def denied(topic: str) -> RefusedError:
    """Return the RefusedError for a topic that this user may not access.

    >>> denied("flights").what
    'Kafka denies this user a topic'
    """
    return RefusedError("Kafka denies this user a topic", found=_who(topic), fix=_ASK)


def _found(what: str, text: str) -> str:
    """Return the denied topic or group, or the cluster, and our user."""
    if "denies" not in what:
        where = str(settings().kafka_bootstrap)
        return where if "certificate" in what else _who(where)
    named = _NAMED.search(text)
    return _who(next(filter(None, named.groups())) if named else "one that Kafka does not name")


def _who(where: str) -> str:
    """Add the user name, if there is one."""
    user = settings().kafka_sasl_username
    return f"{where}, user {user}" if user else where


def _said(error: BaseException) -> str:
    """Return the text of an error and of all its causes; Spark keeps those of Java in attributes of its own."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(texts) < _DEEP:
        texts.append(f"{type(current).__name__}: {current}\n{getattr(current, '_stackTrace', '')}")
        current = current.__cause__ or getattr(current, "_cause", None)
    return "\n".join(texts)
