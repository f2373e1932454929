"""The contract between an analysis and an engine: a description of the query, proved to say what the function says."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
