"""What is amiss is said once, where people look, and said again when it is over."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
