"""The dead letter queue of a topic: browse it, look at a dead letter, send it back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
