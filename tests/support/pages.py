"""README and docs run as tests: what an example says that it gives, `expression  # → result`, is what it gives."""

from __future__ import annotations

import ast
from typing import Any

from sybil import Example
from sybil.parsers.markdown import CodeBlockParser

MARK = "  # → "


def wrong_results(source: str, namespace: dict[str, Any], name: str) -> list[str]:
    """Run statements one by one; return each result that differs from what is written behind it; "…": it goes on.

    >>> wrong_results("1 + 1  # → 3", {}, "page")
    ['line 1: 1 + 1 is written to give 3, and gives 2']
    """
    lines, wrong = source.splitlines(), []
    for node in ast.parse(source).body:
        _, marked, wanted = lines[(node.end_lineno or node.lineno) - 1].partition(MARK)
        if not marked:
            exec(compile(ast.Module([node], []), name, "exec"), namespace)  # noqa: S102 - this is the test
        elif isinstance(node, ast.Expr):
            found = repr(eval(compile(ast.Expression(node.value), name, "eval"), namespace))  # noqa: S307
            if found != wanted and not (wanted.endswith("…") and found.startswith(wanted[:-1])):
                told = f"{ast.unparse(node)} is written to give {wanted}, and gives {found}"
                wrong.append(f"line {node.lineno}: {told}")
        else:
            wrong.append(f"line {node.lineno}: a result stands behind what is no expression")
    return wrong


def _run(example: Example) -> str | None:
    padded = "\n" * (example.line + example.parsed.line_offset) + str(example.parsed)
    wrong = wrong_results(padded, example.namespace, str(example.path))
    example.namespace.pop("__builtins__", None)
    return "\n".join(wrong) or None


parser = CodeBlockParser("python", _run)
