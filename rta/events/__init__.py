"""What an event is: its type and its JSON; real, synthetic and malformed events."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
