"""Execute notebooks from a clean state and keep their outputs.

    python -m tests.notebooks.execute NOTEBOOK…

Clean: a fresh kernel of this interpreter, and an RTA_HOME of its own with a broker of its own.
Kept: what a reader wants to see. Dropped: whatever tells of the machine or the moment.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nbformat
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode
from traitlets import default

from tests.support.waiting import HANG

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROOT: Final = Path(__file__).resolve().parents[2]


class OwnKernel(AsyncKernelManager):
    """A kernel of this interpreter, whatever kernelspecs are installed."""

    @default("kernel_spec_manager")
    def _only_our_own(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])


def execute(path: Path, *, home: Path) -> None:
    """Execute a notebook in place; its outputs are written only if every cell ran."""
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook, kernel_manager_class=OwnKernel, timeout=int(HANG), record_timing=False,
        coalesce_streams=True, resources={"metadata": {"path": str(path.parent)}},
    ).execute()  # fmt: skip
    nbformat.write(tidied(notebook, {str(home): "RTA_HOME", str(ROOT): "."}), path)


def tidied(notebook: NotebookNode, paths: Mapping[str, str]) -> NotebookNode:
    """Return the notebook without stderr, the displays of progress, and the paths of this machine."""
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags"}
        if cell.cell_type == "code":
            cell.outputs = [_without(paths, each) for each in cell.outputs if not is_noise(each)]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }  # fmt: skip
    return notebook


def is_noise(output: Any) -> bool:
    """Tell what a reader does not need: stderr, and the line that rta shows while a person waits."""
    if output.output_type == "stream":
        return bool(output.name == "stderr")
    return output.output_type == "display_data" and set(output.data) == {"text/plain"}


def _without(paths: Mapping[str, str], value: Any) -> Any:
    """Replace this machine's paths in whatever text an output holds."""
    if isinstance(value, str):
        for path, short in paths.items():
            value = value.replace(path, short)
    elif isinstance(value, list):
        value = [_without(paths, each) for each in value]
    elif isinstance(value, dict):
        for name in value:
            value[name] = _without(paths, value[name])
    return value


@contextmanager
def clean_home() -> Iterator[Path]:
    """Lend an RTA_HOME that nobody used, with a broker of its own."""
    for name in [name for name in os.environ if name.startswith("RTA_") and name != "RTA_CACHE"]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="rta-notebooks-") as folder:
        os.environ |= {"RTA_HOME": folder, "RTA_CLASS_DATA": "off"}
        from rta.kafka import broker

        broker.up()  # here, so that it outlives every kernel
        try:
            yield Path(folder)
        finally:  # what a notebook that failed has left, too: Flink, a scheduler
            subprocess.run([sys.executable, "-m", "rta.cli", "down"], check=False, stdout=subprocess.DEVNULL)  # fmt: skip


def put_flights(spark: SparkSession, *, until: str) -> None:
    """Publish the flights before a day to the topic `flights`."""
    import rta

    early = rta.flights(spark).where(f"reported_at < '{until}'")
    rta.publish(early, "flights", key="origin", order_by="reported_at")


def main(names: list[str]) -> None:
    """Execute the notebooks one after another; those on flights find eleven months of them."""
    import rta

    with clean_home() as home:
        if any("flights" in name for name in names):
            put_flights(rta.spark(), until="2013-12-01")
            rta.spark().stop()
        for name in names:
            began = time.monotonic()
            execute(Path(name).resolve(), home=home)
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
