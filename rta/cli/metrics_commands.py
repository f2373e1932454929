"""The command `rta metrics`: figures for Prometheus, at an address or in a file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import click

from rta.cli.printing import LOOPBACK


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True, help="The port; 0 for a free one.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on. With another than loopback's the network can read the figures.")  # fmt: skip
@click.option("--textfile", type=click.Path(path_type=Path), metavar="FILE.prom", help="Write the figures of now into a file for node-exporter, and end.")  # fmt: skip
@click.option("--once", is_flag=True, help="Print the figures of now, and end.")
@click.option("--rules", is_flag=True, help="Print alert rules for Prometheus.")
@click.option("--board", is_flag=True, help="Print a board for Grafana.")
def metrics(*, port: int, host: str, textfile: Path | None, once: bool, rules: bool, board: bool) -> None:  # fmt: skip
    """Serve figures to Prometheus: queries, lag, tables, dead letters, jobs. Ctrl-C ends it."""
    from rta.metrics import exporter

    if rules or board:
        name = "alerts.yml" if rules else "grafana.json"
        click.echo(files("rta.metrics").joinpath(name).read_text(), nl=False)
    elif textfile is not None:
        click.echo(f"written: {exporter.write(textfile)}")
    elif once:
        click.echo(exporter.exposition(), nl=False)
    else:
        with exporter.serve(port, host=host) as serving:
            click.echo(f"metrics at {serving.address}; Ctrl-C ends it")
            if host not in LOOPBACK:
                click.secho("the whole network can read the figures", fg="yellow", err=True)
            serving.wait()
