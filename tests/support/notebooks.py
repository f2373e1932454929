"""Small notebooks for jobs."""

from pathlib import Path
from typing import Final

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

SELDOM: Final = "7 days"
"""A period of which no moment comes while a test runs, but once in a week: they are counted from 1970."""


def written(path: Path, *cells: str, parameters: str | None = None) -> Path:
    """Write a notebook: its cells, and first the one tagged `parameters`, if it has some."""
    tagged = [] if parameters is None else [new_code_cell(parameters, metadata={"tags": ["parameters"]})]  # fmt: skip
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[*tagged, *map(new_code_cell, cells)], metadata=kernel), path)
    return path


def noting(file: Path) -> str:
    """Return a cell that adds a line to a file: the moment of its schedule."""
    return f"import os\nwith open({str(file)!r}, 'a') as file:\n    print(os.environ['RTA_SCHEDULED_FOR'], file=file)"
