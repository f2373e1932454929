"""All errors of rta.

    RtaError
    ├── SetupError        this machine lacks something: Java, jars, a free port, a connector
    ├── BrokerError       Kafka is away (retriable)
    │   └── RefusedError  Kafka refuses us, or its certificate is not trusted
    ├── TopicError        a topic is missing or not as expected
    ├── InputError        an argument, a name, a parameter or a schema is wrong (also a ValueError)
    ├── QueryError        a streaming query cannot start or has failed: checkpoint, state, sink
    ├── TableError        a serving table does not fit its query, or its database is away
    └── JobError          a notebook job was refused or failed
        └── TimedOutError   it took longer than it may

Every message has up to three parts: what happened, what was found, and how to fix it.
"""

from typing import Any, ClassVar


class RtaError(Exception):
    """The base class of all errors that rta raises on purpose.

    Args:
        what: What happened.
        found: What was found.
        fix: What to do.

    >>> raise InputError("topic 'a/b' is not a legal name", found="'/'", fix="use letters, digits, . _ -")
    Traceback (most recent call last):
    rta.errors.InputError: topic 'a/b' is not a legal name; found: '/'; fix: use letters, digits, . _ -
    """

    retriable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1
    """That of the command line."""

    def __init__(self, what: str, *, found: object = None, fix: str | None = None) -> None:
        self.what, self.found, self.fix = what, found, fix
        found_part = "" if found is None else f"; found: {found}"
        super().__init__(what + found_part + ("" if fix is None else f"; fix: {fix}"))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the person's own lines and the message.

        The full traceback may have hundreds of lines of Java; it is kept, and shown on request.
        """
        import traceback
        from pathlib import Path

        package = str(Path(__file__).parent)
        own = [
            f"  line {frame.lineno}: {frame.line}"
            for frame in traceback.extract_tb(self.__traceback__)
            if "site-packages" not in frame.filename and not frame.filename.startswith(package)
        ]
        facts = {"found": self.found, "fix": self.fix}
        said = [f"  {name + ':':<6} {fact}" for name, fact in facts.items() if fact is not None]
        behind = "The full traceback: import traceback; traceback.print_last()"
        return [f"{type(self).__name__}: {self.what}", *said, *own, behind]


class SetupError(RtaError):
    """This machine lacks something that rta needs."""


class BrokerError(RtaError):
    """Kafka is away; a retry may help."""

    retriable = True


class RefusedError(BrokerError):
    """Kafka refuses our password, certificate or access; a retry does not help."""

    retriable = False


class TopicError(RtaError):
    """A topic is missing, or is not as expected."""


class InputError(RtaError, ValueError):
    """An argument, a name, a parameter or a schema is wrong."""


class QueryError(RtaError):
    """A streaming query cannot start, or has failed."""


class TableError(RtaError):
    """A serving table does not fit its query, or its database is away."""


class JobError(RtaError):
    """A notebook job was refused, or failed.

    `receipt` is that of the run, if one began.
    """

    receipt: Any = None


class TimedOutError(JobError):
    """A notebook job took longer than it may."""

    exit_code = 124  # as of timeout(1)


class AccountingWarning(UserWarning):
    """The events of a table do not add up: consumed differs from used + duplicate + late + quarantined."""
