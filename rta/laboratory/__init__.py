"""Faults on purpose, on the embedded broker alone: what recovered in how many seconds, and that nothing was lost."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
