"""What runs and how it does: the health of a query, its state and how it grows, a verdict in words."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
