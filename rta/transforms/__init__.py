"""Analyses as pure functions, DataFrame in and DataFrame out. They import pyspark alone."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
