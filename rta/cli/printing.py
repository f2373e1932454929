"""Rows on a terminal: an aligned table for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from rta.html import text

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as an aligned table, numbers to the right, or as JSON."""
    if as_json:
        print_json(rows)
        return
    cells = [columns, *([text(row[column]) for column in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [bool(rows) and all(isinstance(row[c], int | float) for row in rows) for c in columns]
    for line in cells:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )  # fmt: skip
        click.echo("  ".join(aligned).rstrip())
    if not rows:
        click.echo("(none)", err=True)


def print_json(value: Any) -> None:
    """Print JSON; dates as ISO 8601, decimals as text."""
    click.echo(json.dumps(value, default=str, indent=2))
