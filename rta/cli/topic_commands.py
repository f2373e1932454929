"""`rta topics …`, `rta groups`, `rta publish` and `rta tail`: topics and consumer groups of Kafka."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from rta.cli.printing import AS_JSON, YES, print_json, print_rows
from rta.errors import InputError

DATASETS: Final = ("flights", "weather", "purchases", "user-events")
DAY = click.DateTime(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])


@click.group(invoke_without_command=True)
@AS_JSON
@click.pass_context
def topics(ctx: click.Context, *, as_json: bool) -> None:
    """List the topics with partitions and events; or create, delete, describe or tail one."""
    if ctx.invoked_subcommand is None:
        from rta.kafka import topics as kafka

        known = [asdict(topic) for topic in kafka.list_topics()]
        print_rows(known, ("name", "partitions", "events"), as_json=as_json)


@topics.command()
@click.argument("name")
@click.option("--partitions", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--config", "pairs", multiple=True, metavar="NAME=VALUE", help="A setting of the topic, by Kafka's name; may be repeated.")  # fmt: skip
@AS_JSON
def create(name: str, *, partitions: int, pairs: Sequence[str], as_json: bool) -> None:
    """Create a topic, such as: rta topics create clicks --config retention.ms=86400000."""
    from rta.kafka.topics import create_topic

    config = dict(_pair(each) for each in pairs)
    made = create_topic(name, partitions=partitions, exist_ok=False, config=config)
    print_json(asdict(made)) if as_json else click.echo(f"topic {name}: {partitions} partitions")


@topics.command()
@click.argument("name")
@YES
def delete(name: str, *, yes: bool) -> None:
    """Delete a topic and all its events."""
    from rta.kafka.topics import delete_topic, describe_topic

    held = describe_topic(name).events
    if not yes:
        click.confirm(f"Delete topic {name} and its {held:,} events?", abort=True)
    delete_topic(name)
    click.echo(f"topic {name} deleted with its {held:,} events")


@topics.command()
@click.argument("name")
@AS_JSON
def describe(name: str, *, as_json: bool) -> None:
    """Show a topic: its id, its own settings, and the offsets of each partition."""
    from rta.kafka import topics as kafka

    topic, config = kafka.description(name), kafka.topic_config(name)
    partitions = [
        {"partition": partition, "first": first, "next": end, "events": end - first}
        for partition, (first, end) in topic.ranges.items()
    ]
    if as_json:
        print_json({"name": name, "id": topic.id, "config": config, "partitions": partitions})
        return
    settings = ", ".join(f"{key}={value}" for key, value in config.items())
    click.echo(f"topic   {name}\nid      {topic.id}\nconfig  {settings or 'the defaults of the broker'}\n")  # fmt: skip
    print_rows(partitions, ("partition", "first", "next", "events"), as_json=False)


@click.command()
@click.argument("group", required=False)
@AS_JSON
def groups(group: str | None, *, as_json: bool) -> None:
    """List the consumer groups and their lag; or the lag of one by topic and partition."""
    from rta.kafka.consumer_groups import groups as known
    from rta.kafka.consumer_groups import lag

    if group is None:
        rows = [asdict(each) for each in known()]
        shown = rows if as_json else [row | {"topics": " ".join(row["topics"])} for row in rows]
        print_rows(shown, ("name", "state", "topics", "lag"), as_json=as_json)
        return
    lags = [asdict(row) for row in lag(group, missing_ok=False)]
    print_rows(lags, ("topic", "partition", "committed", "latest", "lag"), as_json=as_json)


def _sources(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Complete the name of a data set, or of a file."""
    return [*(CompletionItem(n) for n in DATASETS if n.startswith(begun)), CompletionItem(begun, type="file")]  # fmt: skip


@click.command()
@click.argument("source", metavar="DATASET|FILE", shell_complete=_sources)
@click.option("--topic", help="The topic; by default the data set's name. A file needs one.")
@click.option("--key", help="For a file: the field whose value is the message key.")
@click.option(
    "--rate",
    type=float,
    help="Send this many events per second, by a clock that does not wait for Kafka.",
)
@click.option("--from", "start", type=DAY, help="For a data set: only what arrived on or after this day (UTC).")  # fmt: skip
@click.option("--until", "end", type=DAY, help="For a data set: only what arrived before this day (UTC).")  # fmt: skip
@click.option("--rows", type=int, help="The number of user events to make; 100,000 by default.")
@click.option("--speed-up", type=float, help="Replay a data set in event time, this many times faster.")  # fmt: skip
@click.option("--once", is_flag=True, help="Do nothing if the topic has the data set already.")
@AS_JSON
def publish(
    source: str, *, topic: str | None, key: str | None, rate: float | None, as_json: bool, **options: Any
) -> None:  # fmt: skip
    """Publish the lines of a JSON file unchanged, or a data set in the order of its arrival.

    The data sets: flights, weather, purchases, user-events.
    """
    given = {name: value for name, value in options.items() if value}
    if source in DATASETS:
        if key is not None:
            raise click.BadParameter("a data set has its own key", param_hint="--key")
        from rta.dataframes.publish_datasets import publish_dataset

        done = publish_dataset(source, topic=topic, rate=rate, **given)
    else:
        done = _publish_file(source, topic, key, rate, given)
    if done is None:
        click.echo(f"topic {topic or source} has them already", err=as_json)
    else:
        print_json(asdict(done)) if as_json else click.echo(str(done))


def _publish_file(
    source: str, topic: str | None, key: str | None, rate: float | None, given: Mapping[str, Any]
) -> Any:
    """Publish the lines of a file."""
    if not Path(source).is_file():
        fix = f"give a file of JSON lines, or one of {', '.join(DATASETS)}"
        raise InputError("this is neither a file nor a data set", found=source, fix=fix)
    if given:
        names = ", ".join("--from" if name == "start" else "--until" if name == "end" else f"--{name}" for name in given)  # fmt: skip
        raise click.BadParameter("this option is for data sets only", param_hint=names)
    if topic is None:
        raise click.BadParameter("a file needs the name of a topic", param_hint="--topic")
    from rta.dataframes.producer import publish, publish_paced

    if rate is not None:
        return publish_paced(Path(source), topic, key=key, rate=rate)
    return publish(Path(source), topic, key=key)


@click.command()
@click.argument("topic")
@click.option("-n", "--count", default=10, show_default=True, help="How many of the newest events.")
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with the events that arrive, until Ctrl-C."
)
@AS_JSON
def tail(topic: str, *, count: int, follow: bool, as_json: bool) -> None:
    """Print the newest events of a topic; control characters are escaped."""
    from rta.kafka.tail import records

    for record in records(topic, count=count, follow=follow):
        if as_json:
            click.echo(json.dumps(asdict(record)))
        else:
            click.echo(str(record))


@click.command()
@click.argument("topic")
@click.option("-n", "--count", default=20, show_default=True, help="The most records to show.")
@click.option("--earliest", is_flag=True, help="The first records, not the newest.")
@click.option(
    "--since", type=DAY, help="The first records since this moment (UTC), by Kafka's time."
)
@click.option(
    "--offset", "place", metavar="PARTITION:OFFSET", help="The first records from there on."
)
@click.option("--where", help="Only records that have this text in key, value or a header.")
@AS_JSON
def peek(
    topic: str, *, count: int, earliest: bool, since: datetime | None, place: str | None, where: str | None, as_json: bool
) -> None:  # fmt: skip
    """Show raw records of a topic: keys, headers, tombstones; control characters are escaped."""
    from rta.kafka.peek import peek as look

    if sum(map(bool, (earliest, since, place))) > 1:
        raise click.UsageError("give one of --earliest, --since, --offset")
    starting: Any = "earliest" if earliest else since.replace(tzinfo=UTC) if since else "latest"
    found = look(topic, count=count, starting=_place(place) if place else starting, where=where)
    if as_json:
        print_json([asdict(record) for record in found])
        return
    print_rows([found.cells(record) for record in found], ("partition", "offset", "timestamp", "key", "value", "headers"), as_json=False)  # fmt: skip
    if found.note:
        click.echo(found.note, err=True)


@click.command()
@click.argument("topic")
@click.option("--sample", default=1_000, show_default=True, help="The most records to look at.")
@click.option("--registry", help="The URL of a schema registry, for Avro.")
@AS_JSON
def infer(topic: str, *, sample: int, registry: str | None, as_json: bool) -> None:
    """Say what the records of a topic are, and print the event type that reads them."""
    from rta.kafka.peek import infer as guess

    found = guess(topic, sample=sample, registry=registry)
    print_json(asdict(found) | {"code": found.code}) if as_json else click.echo(repr(found))


topics.add_command(tail)


def _place(text: str) -> dict[int, int]:
    """Read PARTITION:OFFSET."""
    partition, _, offset = text.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise click.BadParameter(f"{text!r} is not PARTITION:OFFSET", param_hint="--offset")
    return {int(partition): int(offset)}


def _pair(text: str) -> tuple[str, str]:
    """Split NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--config")
    return name, value
