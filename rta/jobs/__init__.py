"""The notebook as a job: parameters, a fresh kernel, a report, a receipt, a history."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
