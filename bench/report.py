"""Show what came out: a line while it runs, tables, the results file of the day, docs/benchmarks.md, three lines of the README."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from os import getloadavg, sched_getaffinity
from pathlib import Path
from typing import Any, Final

import psutil

from bench.measure import ROOT, Measurement
from bench.summary import Place, Runs, Spread, faults, figure, number, place, places, ratio
from bench.targets import TARGETS
from rta.setup.jars import pinned
from rta.setup.java import find_java

RESULTS: Final = ROOT / "bench" / "results"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
LABELS: Final = {
    "seconds": "s", "from_first_record": "s from first record", "cpu_seconds": "CPU s", "peak_mb": "peak MB",
    "broker_cpu_seconds": "broker CPU s", "events_per_second": "events/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
    "max_ms": "max ms", "behind_ms": "sender behind, ms", "kernel_mb": "kernel MB", "jvm_mb": "Spark's JVM MB",
    "broker_mb": "broker MB", "state_mb": "state MB", "checkpoint_mb": "checkpoint MB", "keys": "keys", "events": "events",
    "commit_ms": "commit of all of it, task ms", "small_commit_ms": "commit of a small batch, task ms",
    "missed": "events missed", "batch_ms": "ms", "sink_ms": "ms of them in foreachBatch and what it computes", "before_p99_ms": "p99 ms before",
    "frames_per_s": "frames/s", "frame_ms": "CPU ms a frame", "kernel_cpu": "kernel CPU s", "server_cpu": "server CPU s", "frames": "frames a viewer",
    "minutes": "minutes", "kernel_growth": "kernel, times", "jvm_growth": "JVM, times", "browser_growth": "browser, times", "heap_growth": "page's heap, times",
    "browser_mb": "browser MB", "heap_mb": "page's heap MB", "batches": "micro-batches",
    "scrapes": "scrapes", "scrape_ms": "ms a scrape",
}  # fmt: skip
_COST: Final = ("seconds", "from_first_record", "cpu_seconds", "peak_mb", "broker_cpu_seconds")
GROUPS: Final[Mapping[str, tuple[str, Sequence[str]]]] = {
    "drain": ("Drain the topic to the final table", _COST),
    "engines": ("Drain the topic by each engine to the final table, and without an engine", _COST),
    "batch": ("The same function over the whole topic", _COST),
    "start": ("Start", ("seconds", "cpu_seconds", "peak_mb")),
    "latency": ("From intended send to visible result, each event", ("p50_ms", "p99_ms", "max_ms", "behind_ms")),
    "micro-batch": ("What a micro-batch of 100 events costs, warm", ("batch_ms", "sink_ms")),
    "metrics": ("A query while its figures are scraped once a second", ("batch_ms", "batches", "scrapes", "scrape_ms")),
    "memory": ("Memory", ("kernel_mb", "jvm_mb", "broker_mb", "keys", "state_mb", "checkpoint_mb", "commit_ms", "small_commit_ms")),
    "replay": ("Kappa's replay of the topic into a second version", ("events_per_second", "seconds", "cpu_seconds", "p50_ms", "p99_ms")),
    "recompute": ("Lambda's recomputation over the archive, and others over the same files", _COST),
    "outage": ("Until events are seen as soon as before an outage", ("seconds", "missed", "before_p99_ms", "p99_ms", "behind_ms")),
    "plateau": ("State over time", ("keys", "small_commit_ms")),
    "live": (
        "Live views, in the browser",
        ("seconds", "p50_ms", "p99_ms", "batch_ms", "batches", "frames_per_s", "frame_ms", "kernel_cpu", "server_cpu", "frames", "minutes",
         "kernel_growth", "jvm_growth", "browser_growth", "heap_growth", "kernel_mb", "jvm_mb", "browser_mb", "heap_mb"),
    ),
    "parse": ("Read nested events, from memory into nothing", ("events_per_second", "seconds")),
    "publish": ("Publish", ("events_per_second", "cpu_seconds", "behind_ms")),
}  # fmt: skip
BRIEF: Final[Mapping[str, tuple[str, Sequence[str]]]] = {  # what docs/benchmarks.md shows of them
    "drain": (GROUPS["drain"][0], _COST[:4]),
    "engines": (GROUPS["engines"][0], _COST[:4]),
    "latency": (GROUPS["latency"][0], ("p50_ms", "p99_ms")),
    "micro-batch": GROUPS["micro-batch"],
    "replay": (GROUPS["replay"][0], ("events_per_second", "seconds", "p99_ms")),
    "recompute": (GROUPS["recompute"][0], _COST[:4]),
    "outage": (GROUPS["outage"][0], ("seconds", "missed", "before_p99_ms", "p99_ms")),
}
# The same work: each row beside the first.
RACES: Final = ("drain", "engines", "batch", "recompute", "replay")
Days = Sequence[tuple[Path, Runs]]  # results files, and what counts of each
NOTHING: Final = "No results yet: `make bench` measures, and writes them here."


def begin(command: Sequence[str], events: int) -> dict[str, Any]:
    """Return the facts of a run that begins: what, when, and on what; no name of host or path."""
    kafka = next(c.rpartition(":")[2] for c in pinned()[1] if ":kafka_" in c)
    packages = ("pyspark", "pyarrow", "pandas", "kafka-python", "duckdb", "sqlalchemy")
    return {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m bench", *command]),
        "events": events,
        "code": _code(),
        "machine": {
            "cores": len(sched_getaffinity(0)),
            "memory_gb": round(psutil.virtual_memory().total / 1e9),
            "load_before": round(getloadavg()[0], 2),
            "java": find_java().version,
            "python": platform.python_version(),
            "kafka": kafka,
            **{name: version(name) for name in packages},
        },
    }


def _code() -> str:
    """Return a name for what is measured: the same where rta/ holds the same."""
    files = sorted(each for ending in ("py", "js", "jar") for each in (ROOT / "rta").rglob(f"*.{ending}"))  # fmt: skip
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:12]


def line(measurement: Measurement) -> str:
    """Say in one line what a phase gave."""
    facts = ", ".join(
        f"{LABELS[n]} {number(v)}" for n, v in measurement.figures.items() if n in LABELS
    )
    where = f"{measurement.group}: {measurement.row}, {measurement.phase}"
    return f"{where} ({measurement.repetition + 1}): {measurement.fault or facts}"


def record(run: Mapping[str, Any]) -> Path:
    """Add a run to the results of its day, and write the pages that show them.

    Runs of one day and the same code stand together, and their spread is shown. Delete the file to start over.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run['began'][:10]}.json"
    runs = [*load(path), plain(run)]
    path.write_text(json.dumps({"runs": runs}, indent=1, ensure_ascii=False) + "\n")
    show(path)
    return path


def show(path: Path) -> None:
    """Draw a results file and write its figures to where people read them."""
    from bench.chart import draw

    [(_, runs)] = counting([path])
    draw(runs, path.with_suffix(".svg"))
    path.with_suffix(".md").write_text(f"# All rows\n\n{_where(path, runs)}\n\n{tables(runs)}\n")
    for page, content in pages(current()).items():
        page.write_text(content)


def pages(days: Days) -> dict[Path, str]:
    """Return the pages with figures as they should be: three lines in the README, the tables in docs/benchmarks.md."""
    sections = {ROOT / "README.md": in_brief(days), ROOT / "docs" / "benchmarks.md": section(days)}
    return {page: with_section(page.read_text(), found) for page, found in sections.items()}


def plain(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run as a results file has it."""
    return {**run, "measurements": [asdict(m) for m in run["measurements"]]}


def load(path: Path) -> list[dict[str, Any]]:
    """Return the runs of a results file; none where there is no file."""
    return json.loads(path.read_text())["runs"] if path.exists() else []


def newest() -> Path | None:
    """Return the newest results file; those of `make soak` have a word before the date."""
    return max(RESULTS.glob("[0-9]*.json"), default=None)


def current(folder: Path = RESULTS) -> Days:
    """Return the results files that count, the oldest first, with what counts of each."""
    return counting(sorted(folder.glob("[0-9]*.json")))


def counting(files: Iterable[Path]) -> Days:
    """Return of some results files what counts: each group from the newest code and day that measured most of its rows.

    So a group can be measured alone; rows that are compared are of one day and the same code.
    """
    versions: dict[tuple[Path, str], list[Mapping[str, Any]]] = {}  # the oldest first
    for path in files:
        for run in load(path):
            version = (path, run.get("code", ""))
            versions[version] = [*versions.pop(version, []), run]
    newest_first = list(reversed(versions))
    found: dict[Path, list[Mapping[str, Any]]] = {path: [] for path, _ in versions}
    best = {group: max(newest_first, key=lambda each: len({row for _, row, _ in places(versions[each], group)}))
            for group in {each["group"] for runs in versions.values() for run in runs for each in run["measurements"]}}  # fmt: skip
    for version, runs in versions.items():
        found[version[0]] += _only(runs, {group for group in best if best[group] == version})
    return [(path, runs) for path, runs in found.items() if runs]


def _only(runs: Runs, groups: Collection[str]) -> list[Mapping[str, Any]]:
    """Return what the runs say of some groups."""
    kept = [{**run, "measurements": [each for each in run["measurements"] if each["group"] in groups]} for run in runs]  # fmt: skip
    return [run for run in kept if run["measurements"]]


def in_brief(days: Days) -> str:
    """Say in three lines what results say; a line is left out if not all of it was measured."""
    if not days:
        return NOTHING
    runs = [run for _, runs in days for run in runs]
    held = [target.held(found) for target in TARGETS if (found := target.achieved(runs))]
    return "\n".join(
        [
            *_drained_line(runs),
            *_latency_line(runs),
            f"- {sum(held)} of {len(held)} targets are met; all figures, and the machine: [docs/benchmarks.md](docs/benchmarks.md).",
        ]
    )


def _drained_line(runs: Runs) -> list[str]:
    cold, warm = (("drain", "rta", phase) for phase in ("cold", "warm"))
    found = [figure(runs, place, "seconds") for place in (cold, warm)] + [
        ratio(runs, ("drain", other, place[2]), place, "seconds")
        for other in ("article", "hand-written")
        for place in (cold, warm)
    ]
    if not all(found):
        return []
    mine_cold, mine_warm, article_cold, article_warm, hand_cold, hand_warm = _medians(found)
    return [
        (f"- {runs[-1]['events']:,} events from a topic into the final table: {mine_cold} s, {mine_warm} s once the JVM is warm."
        f" The article's own query takes {article_cold} and {article_warm} times as long, the same by hand with the best settings"
        f" {hand_cold} and {hand_warm} times.")
    ]  # fmt: skip


def _latency_line(runs: Runs) -> list[str]:
    rate = "1,000 events/s"
    rows = ("micro-batch", "real-time mode, table", "real-time mode", "article")
    found = [figure(runs, ("latency", row, rate), "p50_ms") for row in rows]
    if not all(found):
        return []
    batch, table, topic, article = _medians(found)
    return [
        (f"- From send to visible result, median at {rate}: {batch} ms in micro-batches, {table} ms into a table and {topic} ms onto"
        f" a topic in real-time mode; the article's query: {article} ms.")
    ]  # fmt: skip


def _medians(found: Sequence[Spread | None]) -> list[str]:
    return [number(spread.median) for spread in found if spread]


def section(days: Days) -> str:
    """Write the tables of docs/benchmarks.md."""
    if not days:
        return NOTHING
    runs = [run for _, runs in days for run in runs]
    where = [f"- {', '.join(_groups(of))}: {_where(path, of)}" for path, of in days]
    charts = [f"![The rows side by side](../bench/results/{path.stem}.svg)" for path, of in days if "drain" in _groups(of)]  # fmt: skip
    links = ", ".join(f"[bench/results/{path.stem}.md](../bench/results/{path.stem}.md)" for path, _ in days)  # fmt: skip
    rest = f"All rows, memory, start and publishing too: {links}."
    return "\n\n".join(["\n".join(where), *charts, tables(runs, BRIEF), rest])


def _groups(runs: Runs) -> list[str]:
    return [group for group in GROUPS if places(runs, group)]


def _where(path: Path, runs: Runs) -> str:
    """Say when and on what it was measured."""
    machine = runs[-1]["machine"]
    return (
        f"{path.stem}, {machine['cores']} cores, {machine['memory_gb']} GB, Java {machine['java']},"
        f" Python {machine['python']}, PySpark {machine['pyspark']}, Kafka {machine['kafka']};"
        f" {runs[-1]['events']:,} events; medians, with the least and the greatest."
    )


def with_section(text: str, content: str) -> str:
    """Replace what stands between the markers.

    >>> with_section(f"a {BEGIN} old {END} z", "new").split()
    ['a', '<!--', 'bench:begin', '-->', 'new', '<!--', 'bench:end', '-->', 'z']
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def tables(runs: Runs, groups: Mapping[str, tuple[str, Sequence[str]]] = GROUPS) -> str:
    """Write the tables of groups in Markdown: first what was wanted."""
    each = [_group(runs, group, *groups[group]) for group in groups if places(runs, group)]
    return "\n\n".join([*filter(None, [_targets(runs)]), *each])


def _targets(runs: Runs) -> str:
    lines = []
    for target in TARGETS:
        found = target.achieved(runs)
        if found:
            verdict = "yes" if target.held(found) else "**no**"
            lines.append((target.what, target.wanted, str(found), verdict))
    return _table(("", "wanted", "achieved", "held"), lines) if lines else ""


def _group(runs: Runs, group: str, title: str, names: Sequence[str]) -> str:
    """Write one group: the figures that its rows have, the ratio to its first row, the guarantee."""
    known = places(runs, group)
    used = [name for name in names if any(figure(runs, where, name) for where in known)]
    timed = group in RACES and "seconds" in used
    lines = [_line(runs, where, used, known[0][1] if timed else None) for where in known]
    head = [
        "",
        *(LABELS[name] for name in used),
        *(["times as fast"] if timed else []),
        "guarantee",
    ]
    return f"**{title}**\n\n{_table(head, lines)}"


def _line(runs: Runs, where: Place, used: Sequence[str], base: str | None) -> list[str]:
    """Write one row; a wrong one says so, and where all its repetitions were wrong it has no figure."""
    group, row, phase = where
    cells = [str(figure(runs, where, name) or "") for name in used]
    if base:
        cells.append(str(ratio(runs, (group, base, phase), where, "seconds") or ""))
    all_of_them = [m for run in runs for m in run["measurements"] if place(m) == where]
    guarantee = all_of_them[0]["guarantee"]
    return [f"{row}, {phase}", *cells, "; ".join([*faults(runs, where), guarantee])]


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    clean = [[cell.replace("|", "\\|").replace("\n", " ") for cell in cells] for cells in lines]
    rule = ["---"] + ["---:"] * (len(head) - 2) + ["---"]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *clean])
