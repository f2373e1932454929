"""Apache Flink: a local cluster, its SQL gateway, an analysis as Flink SQL, and the job that keeps a table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
