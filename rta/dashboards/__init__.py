"""A notebook as a live page for people without Jupyter: one kernel, one query, many viewers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
