"""Rows and facts on a terminal: an aligned table for a person, JSON for a program."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as an aligned table, or as JSON."""
    if as_json:
        print_json(rows)
        return
    cells = [[_cell(row[column]) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[i]) for line in cells)) if cells else len(column)
        for i, column in enumerate(columns)
    ]
    numeric = [
        bool(rows) and all(isinstance(row[c], (int, float)) for row in rows) for c in columns
    ]
    for line in [list(columns), *cells]:
        click.echo(
            "  ".join(
                t.rjust(w) if n else t.ljust(w)
                for t, w, n in zip(line, widths, numeric, strict=True)
            ).rstrip()
        )
    if not rows:
        click.echo("(none)", err=True)


def _cell(value: Any) -> str:
    """Write a value for a person."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


def print_json(value: Any) -> None:
    """Print JSON; dates as ISO 8601, decimals as text."""
    click.echo(json.dumps(value, default=str, indent=2))
