"""Rows on a terminal: an aligned table for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rta.html import plain

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
LOOPBACK = ("127.0.0.1", "localhost", "::1")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as an aligned table, numbers to the right, or as JSON."""
    if as_json:
        print_json(rows)
        return
    for line in plain([[row[column] for column in columns] for row in rows], columns):
        click.echo(line)
    if not rows:
        click.echo("(none)", err=True)


def print_json(value: Any) -> None:
    """Print JSON; dates as ISO 8601, decimals as text."""
    click.echo(json.dumps(value, default=str, indent=2))
