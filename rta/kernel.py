"""What rta changes in a kernel that imports it: charts are visible offline, Stop is one sentence.

It uses IPython's own hooks, and does not load Altair. JupyterLab has no renderer for charts of Altair 6, Altair's default
renderer asks a CDN, and a report shows neither that nor a widget.
"""

from __future__ import annotations

import re
import struct
import traceback
import zlib
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from types import TracebackType

_PICTURES: Final = {"image/svg+xml", "image/png"}
_LARGEST_SVG: Final = 300_000  # characters; thousands of marks are smaller as a PNG
_SIZE: Final = re.compile(r'\b(width|height)="([\d.]+)')
_DEEP: Final = (str(Path(__file__).parent), "/pyspark/", "/py4j/")


def prepare(shell: Any) -> None:
    """Show charts of Altair as pictures and Stop as one sentence in an IPython shell."""
    bundles = shell.display_formatter.mimebundle_formatter
    bundles.for_type_by_name("altair.vegalite.v6.api", "TopLevelMixin", _shown)
    if not shell.custom_exceptions:  # else somebody has set their own
        shell.set_custom_exc((KeyboardInterrupt,), _stopped)


def _shown(chart: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the output of the renderer that the person chose, and a picture if that has none."""
    import altair as alt

    unchosen = alt.renderers.active == "default"
    data, metadata = ({}, {}) if unchosen else _parts(chart._repr_mimebundle_())
    if not _PICTURES & set(data):
        picture, sizes = _picture(chart)
        data, metadata = {**data, **picture}, {**metadata, **sizes}
    if "image/png" in data or "image/svg+xml" not in data:
        return data, metadata
    png, size = _as_png(data["image/svg+xml"])
    return {**data, "image/png": png}, {**metadata, "image/png": size}


def _as_png(svg: str) -> tuple[bytes, dict[str, int]]:
    """Return an SVG as a PNG and its size: JupyterLab shows no SVG of a notebook that somebody else has executed."""
    import vl_convert

    size = {each: round(float(number)) for each, number in _SIZE.findall(svg[: svg.index(">")])}
    return packed(vl_convert.svg_to_png(svg)), size


def packed(png: bytes) -> bytes:
    """Return a PNG with its pixels compressed at zlib's highest level: a quarter of the bytes in each kept notebook."""
    chunks, at = [], 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunks.append((kind, png[at + 8 : at + 8 + length]))
        at += 12 + length
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    kept = [(kind, data) for kind, data in chunks if kind not in (b"IDAT", b"IEND")]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*kept, (b"IDAT", zlib.compress(pixels, 9)), (b"IEND", b"")]
    )


def _picture(chart: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    import altair as alt

    with (
        alt.data_transformers.disable_max_rows()
    ):  # the limit is for charts that contain their data
        with alt.renderers.enable("svg"):
            drawn = _parts(chart._repr_mimebundle_())
        if len(drawn[0].get("image/svg+xml", "")) > _LARGEST_SVG:
            with alt.renderers.enable("png", scale_factor=2):
                drawn = _parts(chart._repr_mimebundle_())
    return drawn


def _parts(bundle: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data and metadata of a renderer's output, which may be the data alone, or nothing."""
    data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
    return data or {}, metadata


def _stopped(
    shell: Any, kind: type, error: BaseException, trace: TracebackType, tb_offset: int | None = None
) -> None:
    """Show a Stop inside of rta or Spark by the person's own lines; any other as IPython does."""
    frames = traceback.extract_tb(trace)
    above = list(takewhile(lambda each: not any(p in each.filename for p in _DEEP), frames))
    if len(above) < len(frames):
        own = [each for each in above if "site-packages" not in each.filename]
        said = [
            "KeyboardInterrupt: stopped",
            *(f"  line {each.lineno}: {each.line}" for each in own),
        ]
        vars(error)["_render_traceback_"] = lambda: said  # IPython asks an error for it
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset, running_compiled_code=True)
