"""Topics as DataFrames: the Spark session, read, parse, validate, quarantine, publish."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
