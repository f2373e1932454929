"""How fast, how late, how large: rows measured side by side in one run; `python -m bench --help`.

    topic  →  row  →  phases  →  check  →  results/<date>.json  →  table, chart, docs/benchmarks.md, three lines of README

    setup     the topic, its archive and its truth, once for each size
    child     what runs inside a measured process
    measure   start it, watch it, hold its answer to the truth
    drain batch start latency memory state publish    the rows
    replays recompute outage                          the rows of Kappa, Lambda and a stopped query
    live                                          the rows of live views, in JupyterLab and Chromium
    targets report                              what was wanted, what came out

A row is one process of its own. Rows of a group take turns, so that what the machine does meanwhile
meets all of them. A row whose answer is wrong has no figures.
"""
