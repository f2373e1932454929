"""The way back of dead letters: an event goes to its topic, Kafka acknowledges it, and only then it is noted.

The note lies in Kafka, too, on the compacted topic `<topic>.dlq.redriven`: the letter's identity → where its event is now.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.future import Future

from rta.dlq.browse import NOTES
from rta.dlq.dead_letter import Letter, outgoing, sent_at
from rta.errors import BrokerError, TopicError
from rta.kafka import client, internals
from rta.kafka.auth_errors import refusal, refusals_said
from rta.kafka.delivery_report import verdict, why_not
from rta.kafka.paced import bounded, end, flush
from rta.kafka.topics import create_topic, offsets

Pairs = Sequence[tuple[Letter, Letter]]  # each letter, and as the mend made it
TIMEOUT: Final = 30.0  # seconds that an event may be without an answer
SETTINGS: Final = {
    # What Kafka took once it is asked to take again. Packed, an event near the limit has room for two headers more.
    "max_request_size": 64 * 2**20,
    "compression_type": "gzip",
    # kafka-python's idempotent producer ends with the first event that Kafka refuses, and all that are out with it.
    "enable_idempotence": False,
    "max_in_flight_requests_per_connection": 1,
}


class Post:
    """A producer that sends events back to one topic, and notes them."""

    def __init__(self, topic: str, producer: Any) -> None:
        self.topic, self.producer = topic, producer
        self.partitions = len(offsets(topic))

    def deliver(self, pairs: Pairs, reasons: Counter[str]) -> int:
        """Send, wait, note; return how many Kafka has. What it refuses is counted by its reason.

        Raises BrokerError, or RefusedError, once those are noted that did arrive.
        """
        answers = self._answers(pairs)
        self.note([(letter, answer.value) for letter, answer in answers if answer.succeeded()])
        errors = [_error(answer) for _, answer in answers if not answer.succeeded()]
        for error in errors:
            if refused := refusal(error):
                raise refused
            if verdict(error) == "unknown" and isinstance(error, KafkaError):
                raise _away(error, f"{len(pairs) - len(errors)} of {len(pairs)} events were acknowledged, and noted")  # fmt: skip
        reasons.update(map(why_not, errors))
        return len(pairs) - len(errors)

    def _answers(self, pairs: Pairs) -> list[tuple[Letter, Future]]:
        """Send all; those that Kafka refuses once more, each alone: it refuses a batch whole for one event's sake."""
        answers = [(letter, mended, self._send(letter, mended)) for letter, mended in pairs]
        self._flush()
        return [
            (letter, self._alone(letter, mended) if verdict(_error(answer)) == "failed" else answer)
            for letter, mended, answer in answers
        ]

    def _alone(self, letter: Letter, mended: Letter) -> Future:
        answer = self._send(letter, mended)
        self._flush()
        return answer

    def note(self, arrived: Sequence[tuple[Letter, Any]]) -> None:
        """Write down that these letters were sent back."""
        notes = []
        for letter, at in arrived:
            told = {"to": f"{at.topic}/{at.partition}/{at.offset}", "attempts": letter.attempts + 1}
            note, which = json.dumps(told).encode(), letter.identity.encode()
            notes.append(client.send(self.producer, self.topic + NOTES, note, which))
        self._flush()
        if missing := [note for note in notes if not note.succeeded()]:
            error = _error(missing[0])
            raise refusal(error) or _away(
                error, f"{len(missing)} events are on the topic without a note: they will be sent once more"
            )  # fmt: skip

    def _send(self, letter: Letter, mended: Letter) -> Future:
        """Hand one event to the producer, for the partition where it lay; one with another key finds its own."""
        same = letter.topic == self.topic and mended.key == letter.key
        where = letter.partition if same and letter.partition in range(self.partitions) else None
        try:
            return client.send(
                self.producer, self.topic, mended.value, mended.key, outgoing(letter, mended),
                partition=where, timestamp_ms=sent_at(letter, mended),
            )  # fmt: skip
        except (KafkaError, ValueError) as error:  # it never left this process
            return Future().failure(error)

    def _flush(self) -> None:
        with suppress(KafkaTimeoutError):  # what has no answer then is seen at the event itself
            flush(self.producer, TIMEOUT + 5)


@contextmanager
def post(topic: str) -> Iterator[Post]:
    """Lend what sends events back to a topic; the topic of its notes is made on first need."""
    try:
        offsets(topic + NOTES, right="WRITE")
    except TopicError:
        create_topic(topic + NOTES, partitions=1, config={"cleanup.policy": "compact"})
    with refusals_said():
        producer = client.producer(**bounded(TIMEOUT), **SETTINGS)
        try:
            yield Post(topic, producer)
        except BrokerError:
            internals.abandon(producer)  # it would wait for Kafka once more
            raise
        finally:
            end(producer, TIMEOUT)


def _error(answer: Future) -> BaseException:
    error: BaseException = answer.exception or KafkaTimeoutError("no answer in time")
    return error


def _away(error: BaseException, found: str) -> BrokerError:
    return BrokerError(
        "Kafka does not answer", found=f"{type(error).__name__}; {found}",
        fix="see `rta status`, then run it again: it goes on with what is not noted",
    )  # fmt: skip
