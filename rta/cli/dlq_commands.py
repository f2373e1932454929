"""`rta dlq …`: list, inspect and redrive the dead letters of a topic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

import click

from rta.cli.printing import AS_JSON, YES, print_json, print_rows

if TYPE_CHECKING:
    from rta.dlq.dead_letter import DeadLetter
    from rta.dlq.redriving import Redriven

REASON = click.option(
    "--reason", help="Only those with this reason; 'missing' includes 'missing: amount'."
)
_SHOWN = 60  # characters of a payload in a list


@click.group()
def dlq() -> None:
    """List, inspect and redrive dead letters: the bad events of a topic."""


@dlq.command("list")
@click.argument("topic")
@REASON
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="At most this many, the oldest first.",
)
@click.option("--open", "still_open", is_flag=True, help="Only those that were not sent back yet.")
@click.option("--reasons", "counted", is_flag=True, help="Count them by reason instead.")
@AS_JSON
def list_dead_letters(
    topic: str, *, reason: str | None, limit: int, still_open: bool, counted: bool, as_json: bool
) -> None:
    """List the dead letters of a topic: origin, reason, attempts."""
    from rta.dlq.browse import counts, dead_letters
    from rta.dlq.dead_letter import as_dict

    if counted:
        print_rows(
            [asdict(count) for count in counts(topic)],
            ("reason", "dead_letters", "still_open"),
            as_json=as_json,
        )
        return
    found = dead_letters(
        topic, reason=reason, redriven=False if still_open else None, limit=limit + 1
    )
    if as_json:
        print_json([as_dict(dead_letter) for dead_letter in found[:limit]])
    else:
        _print_dead_letters(found[:limit])
    if len(found) > limit:
        click.echo(f"there are more than {limit:,}: --limit shows them", err=True)


@dlq.command()
@click.argument("topic")
@click.argument("partition", type=int)
@click.argument("offset", type=int)
@AS_JSON
def inspect(topic: str, partition: int, offset: int, *, as_json: bool) -> None:
    """Show one dead letter, by the partition and offset of its event; control characters are escaped."""
    from rta.dlq.browse import find
    from rta.dlq.dead_letter import as_dict, facts

    dead_letter = find(topic, partition, offset)
    if as_json:
        print_json(as_dict(dead_letter))
        return
    told = facts(dead_letter)
    width = max(len(name) for name, _ in told)
    for name, fact in told:
        click.echo(f"{name:<{width}}  {fact}")


@dlq.command()
@click.argument("topic")
@REASON
@click.option(
    "--replace",
    "pairs",
    nargs=2,
    multiple=True,
    metavar="OLD NEW",
    help="Replace a text in the value; may be repeated. Dead letters without it are left.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be sent, and send nothing.")
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Refuse a dead letter that was already sent back this often.",
)
@YES
@AS_JSON
def redrive(
    topic: str,
    *,
    reason: str | None,
    pairs: Sequence[tuple[str, str]],
    dry_run: bool,
    max_attempts: int,
    yes: bool,
    as_json: bool,
) -> None:
    """Send dead letters back to their topic, each once: fixed by --replace, or as they are."""
    from rta.dlq.redriving import redrive as send

    if any(not old for old, _ in pairs):
        raise click.BadParameter("OLD is empty", param_hint="--replace")
    fix = replacing(pairs) if pairs else None
    if dry_run or not yes:
        would = send(topic, fix, reason=reason, max_attempts=max_attempts, dry_run=True)
        if dry_run and as_json:
            _print_redriven(would)
            return
        click.echo(str(would), err=as_json)
        if would.first and not as_json:
            _print_dead_letters(would.first, most=5 * _SHOWN)
        if dry_run:
            return
        if would.sent:
            click.confirm(f"Send them to {topic}?", abort=True, err=as_json)
        elif not as_json:
            return
    done = send(topic, fix, reason=reason, max_attempts=max_attempts)
    _print_redriven(done) if as_json else click.echo(str(done))


def _print_redriven(done: Redriven) -> None:
    """Print as JSON what was sent back, or would be."""
    from rta.dlq.dead_letter import as_dict

    facts = {each.name: getattr(done, each.name) for each in fields(done)}
    print_json(facts | {"first": [as_dict(dead_letter) for dead_letter in done.first]})


def replacing(pairs: Sequence[tuple[str, str]]) -> Callable[[DeadLetter], bytes | None]:
    """Return a fix that replaces texts in the value, one after the other, and leaves dead letters without any of them.

    >>> from types import SimpleNamespace
    >>> fix = replacing([("many", "1"), ("1", "2")])
    >>> fix(SimpleNamespace(value=b'{"n":many}')), fix(SimpleNamespace(value=b"{"))
    (b'{"n":2}', None)
    """
    # A shell may pass bytes that are not UTF-8; Python keeps them like this.
    raw = [tuple(text.encode("utf-8", "surrogateescape") for text in pair) for pair in pairs]

    def fix(dead_letter: DeadLetter) -> bytes | None:
        value = dead_letter.value or b""
        for old, new in raw:
            value = value.replace(old, new)
        return None if value == (dead_letter.value or b"") else value

    return fix


def _print_dead_letters(found: Sequence[DeadLetter], most: int = _SHOWN) -> None:
    """Print dead letters as a table: partition and offset as `inspect` takes them, without commas."""
    from rta.dlq.dead_letter import at_a_glance

    columns = "partition", "offset", "sent", "reason", "attempts", "redriven", "key", "value"
    rows = [
        at_a_glance(each, most) | {"partition": str(each.partition), "offset": str(each.offset)}
        for each in found
    ]
    print_rows(rows, columns, as_json=False)
