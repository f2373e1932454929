"""A notebook's prose and still outputs as safe HTML: no script, no style of their own, no network."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_TAGS: Final = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6",
    "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot",
    "th", "thead", "tr", "u", "ul",
}  # fmt: skip
_TRAITS: Final = {
    "alt",
    "align",
    "class",
    "colspan",
    "height",
    "rowspan",
    "scope",
    "title",
    "width",
}
_STYLES: Final = {"color", "background-color", "font-weight", "font-style", "text-align", "white-space"}  # fmt: skip
_PICTURES: Final = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
_LINKS: Final = ("http://", "https://", "mailto:", "#")
_MUTE: Final = re.compile(
    r"<(style|script)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE
)  # not for reading
_PRINTED: Final = 20_000  # characters of what a cell has printed: the newest


def prose(source: str) -> str:
    """Return Markdown as HTML; HTML in it is shown as it is written.

    >>> prose("# Delays <img src=x onerror=alert(1)>")
    '<h1>Delays &lt;img src=x onerror=alert(1)&gt;</h1>'
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    renderer = IPythonRenderer(escape=True, exclude_anchor_links=True)
    return clean(MarkdownWithMath(renderer=renderer).render(source)).strip()


def still(data: Mapping[str, Any], metadata: Mapping[str, Any] | None = None) -> str:
    """Return an output as HTML: the best form of it that needs no script; an empty text if it has none.

    >>> still({"text/html": "<b onclick='x()'>7</b><script>y()</script>", "text/plain": "7"})
    '<b>7</b>'
    """
    for kind in _PICTURES:
        if kind in data:
            # As the source of an image not even SVG runs scripts.
            text = _text(data[kind])
            coded = b64encode(text.encode()).decode() if kind == "image/svg+xml" else text.strip()
            alt = escape(_text(data.get("text/plain", "picture"))[:200])
            return f'<img alt="{alt}" src="data:{kind};base64,{escape(coded)}"{_width(kind, metadata)}>'
    if "text/html" in data:
        return clean(_text(data["text/html"]))
    if "text/markdown" in data:
        return prose(_text(data["text/markdown"]))
    return printed(_text(data.get("text/plain", "")))


def printed(text: str) -> str:
    """Return text as it was printed; of much text the end.

    >>> printed("1 < 2")
    '<pre>1 &lt; 2</pre>'
    """
    from nbconvert.filters import strip_ansi

    return f"<pre>{escape(strip_ansi(text[-_PRINTED:]))}</pre>" if text.strip() else ""


def clean(html: str) -> str:
    """Return HTML with what is harmless in it."""
    import bleach
    from bleach.css_sanitizer import CSSSanitizer

    return str(bleach.clean(
        _MUTE.sub("", html), tags=_TAGS, attributes=_harmless, protocols={"http", "https", "mailto", "data"}, strip=True,
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
    ))  # fmt: skip


def _harmless(tag: str, name: str, value: str) -> bool:
    if name == "href":
        return tag == "a" and value.lower().startswith(_LINKS)
    if name == "src":
        return tag == "img" and value.startswith(tuple(f"data:{kind};" for kind in _PICTURES))
    return name in _TRAITS or name == "style"


def _text(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else "".join(value)


def _width(kind: str, metadata: Mapping[str, Any] | None) -> str:
    wide = ((metadata or {}).get(kind) or {}).get("width")
    return f' width="{int(wide)}"' if isinstance(wide, int | float) else ""
