"""Files that are written completely, or stay as they were."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file completely or not at all: on a full disk, or killed in the middle, the file of before is there.

    Raises:
        OSError: If it cannot be written.

    >>> from tempfile import mkdtemp
    >>> file = Path(mkdtemp()) / "receipt.json"
    >>> write_whole(file, "{}")
    >>> file.read_text(), [each.name for each in file.parent.iterdir()]
    ('{}', ['receipt.json'])
    """
    draft = path.with_name(f".{path.name}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    finally:  # half a draft would keep the disk full
        draft.unlink(missing_ok=True)
