"""One event that Kafka refuses is refused alone: all others arrive, each once, in order.

kafka-python's idempotent producer ends with the first batch that Kafka refuses, and gives everything that is out with it the
same reason. Here a refused batch is halved until the refused event is by itself (it does so already where a batch is too
large), and its sequence numbers, which Kafka never took, go to the next batch. That holds with one request in flight: then
none behind it has later numbers.
"""

from __future__ import annotations

from typing import Any, Final

ONE_AT_A_TIME: Final = {"max_in_flight_requests_per_connection": 1}


def isolate_refused(producer: Any) -> None:
    """Let an idempotent producer with one request in flight go on after an event that Kafka refuses.

    >>> from types import SimpleNamespace
    >>> isolate_refused(SimpleNamespace(config={"enable_idempotence": False}))  # has nothing that ends
    """
    from kafka.errors import (
        InvalidRecordError,
        InvalidTimestampError,
        MessageSizeTooLargeError,
        RecordListTooLargeError,
    )

    config = producer.config
    if not config["enable_idempotence"] or not ONE_AT_A_TIME.items() <= config.items():
        return
    sender, numbers = producer._sender, producer._transaction_manager
    refusals = (InvalidRecordError, InvalidTimestampError, MessageSizeTooLargeError, RecordListTooLargeError)  # fmt: skip
    can_split, classify = sender._can_split, numbers.classify_batch_error

    def may_split(batch: Any, error: type[BaseException]) -> bool:
        same = MessageSizeTooLargeError if issubclass(error, refusals) else error
        return bool(can_split(batch, same))

    def not_fatal(error: BaseException, batch: Any, **facts: Any) -> str:
        if isinstance(error, refusals) and batch.records.base_sequence not in (None, -1):
            numbers.set_sequence_number(batch.topic_partition, batch.records.base_sequence)
            return str(
                numbers.ERROR_CLASS_RETRIABLE
            )  # it is not tried again: the batch fails, and no more
        return str(classify(error, batch, **facts))

    sender._can_split, numbers.classify_batch_error = may_split, not_fatal
