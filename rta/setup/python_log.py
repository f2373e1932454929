"""Send what PySpark and py4j log in this process to a file, beside the log of the JVM.

PySpark logs each AnalysisException as thousands of characters of JSON, and py4j logs each interrupt as a traceback on the root
logger, both in addition to the error that a person sees anyway.
"""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

_LOGGERS: Final = ("SQLQueryContextLogger", "DataFrameQueryContextLogger", "py4j")


class _File(RotatingFileHandler):
    """The handler of rta: its own class, so that a later session finds and replaces it."""


class _FromPy4j(logging.Filter):
    """Send what py4j logs on the root logger to the file, and let everything else pass."""

    def __init__(self, file: _File) -> None:
        super().__init__()
        self.file = file

    def filter(self, record: logging.LogRecord) -> bool:
        """Write a record of py4j to the file; return whether the record is of another library."""
        others = Path(record.pathname).parent.name != "py4j"
        if not others and record.levelno >= self.file.level:
            self.file.handle(record)
        return others


def to_file(folder: Path) -> None:
    """Send the messages of PySpark and py4j to `spark-python.log` in a folder instead of stderr; leave other loggers unchanged.

    Warnings and errors are logged, in at most three files of 10 MB.

    >>> from rta.settings import settings
    >>> to_file(settings().home)
    """
    from pyspark.logger.logger import JSONFormatter, PySparkLogger

    file = _File(folder / "spark-python.log", maxBytes=10_000_000, backupCount=2, delay=True)
    file.setLevel(logging.WARNING)
    file.setFormatter(JSONFormatter())
    for logger in map(PySparkLogger.getLogger, _LOGGERS):
        for handler in list(logger.handlers):
            # PySpark's own, or one of an earlier session.
            if type(handler) in (logging.StreamHandler, _File):
                logger.removeHandler(handler)
                handler.close()
        logger.addHandler(file)
        logger.propagate = False
    root = logging.getLogger()
    for each in [each for each in root.filters if isinstance(each, _FromPy4j)]:
        root.removeFilter(each)
    root.addFilter(_FromPy4j(file))
