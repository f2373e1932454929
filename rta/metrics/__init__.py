"""One look at all that runs, as figures for Prometheus: queries, tables, dead letters, consumer groups, jobs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
