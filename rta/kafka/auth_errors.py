"""What a secured Kafka refuses, one sentence each, whichever client met it: kafka-python, or Spark's in Java."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rta.errors import RefusedError, RtaError
from rta.settings import settings

_ASK: Final = "ask who runs the cluster for an ACL: DESCRIBE and READ to read, WRITE to publish, CREATE to make a topic"
# What is said in Python | what is said in Java → what happened, what to do.
_SENTENCES: Final = (
    (
        r"SaslAuthenticationFailedError|SaslAuthenticationException",
        "Kafka refuses this user with this password",
        "correct RTA_KAFKA_SASL_USERNAME and RTA_KAFKA_SASL_PASSWORD, or RTA_KAFKA_SASL_MECHANISM",
    ),
    (
        r"UnsupportedSaslMechanism(Error|Exception)",
        "Kafka does not take passwords by this mechanism",
        "set RTA_KAFKA_SASL_MECHANISM to one that the cluster has",
    ),
    (
        r"VERIFY_FAILED\].*certificate has expired|CertificateExpiredException",
        "the certificate of the Kafka broker has expired",
        "tell who runs the cluster; if it is new, look at the clock of this machine",
    ),
    (
        r"VERIFY_FAILED\].*mismatch|No subject alternative|No name matching .* found",
        "the certificate of the Kafka broker is for another host name",
        "write the name that is in it into RTA_KAFKA_BOOTSTRAP; if that is there, tell who runs the cluster",
    ),
    (
        r"VERIFY_FAILED\].*(self-signed|unable to get)|unable to find valid certification path",
        "the certificate of the Kafka broker is from nobody that is trusted here",
        "set RTA_KAFKA_SSL_CAFILE to the certificate of the cluster's authority, in PEM",
    ),
    (
        r"(ALERT_|fatal alert: )(BAD_CERTIFICATE|CERTIFICATE_REQUIRED|bad_certificate|certificate_required)",
        "Kafka wants a certificate of ours, or does not trust the one it got",
        "set RTA_KAFKA_SSL_CERTFILE and RTA_KAFKA_SSL_KEYFILE",
    ),
    (
        r"NO_CERTIFICATE_OR_CRL_FOUND|\[SSL\] PEM lib|KEY_VALUES_MISMATCH|InvalidPemException|Failed to load PEM",
        "a certificate or key of ours cannot be read as PEM",
        "look at RTA_KAFKA_SSL_CAFILE, RTA_KAFKA_SSL_CERTFILE and RTA_KAFKA_SSL_KEYFILE",
    ),
    (r"TopicAuthorization(FailedError|Exception)", "Kafka denies this user a topic", _ASK),
    (
        r"GroupAuthorization(FailedError|Exception)",
        "Kafka denies this user a consumer group",
        "ask who runs the cluster for an ACL: DESCRIBE to see it, READ to be in it",
    ),
    (r"ClusterAuthorization(FailedError|Exception)", "Kafka denies this user the cluster", _ASK),
)  # fmt: skip
_DEEP: Final = 20  # causes behind causes
# Where the clients name the topic or the group that is denied.
_NAMED: Final = re.compile(
    r"access (?:topics: \[|group: )([\w.-]+)|GROUP/([\w.-]+)|Topic\w*\([^)]*?name='([\w.-]+)'|FailedError: (?!Request|Find)\{?'?([\w.-]+)"
)


def refusal(error: BaseException | str) -> RefusedError | None:
    """Return the sentence for an error of a Kafka client, or of Spark, that is a refusal; else None.

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
def refusals_said() -> Iterator[None]:
    """Turn a client's error that is a refusal into its sentence, without its page of Java; let all others pass.

    >>> with refusals_said():
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
    """Return the sentence for a topic that this user has no right to.

    >>> denied("flights").what
    'Kafka denies this user a topic'
    """
    return RefusedError("Kafka denies this user a topic", found=_who(topic), fix=_ASK)


def _found(what: str, text: str) -> str:
    """Say which topic or group it is about, and who we are; else which cluster."""
    if "denies" not in what:
        where = f"{settings().kafka_bootstrap}"
        return where if "certificate" in what else _who(where)
    named = _NAMED.search(text)
    return _who(next(filter(None, named.groups())) if named else "one that Kafka does not name")


def _who(where: str) -> str:
    """Add the user, if we have one."""
    user = settings().kafka_sasl_username
    return f"{where}, user {user}" if user else where


def _said(error: BaseException) -> str:
    """Collect what an error says, with its causes: Spark keeps those of Java apart."""
    texts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(texts) < _DEEP:
        texts.append(f"{type(current).__name__}: {current}\n{getattr(current, '_stackTrace', '')}")
        current = current.__cause__ or getattr(current, "_cause", None)
    return "\n".join(texts)
