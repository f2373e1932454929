"""What keeps a table up to date with a topic: one contract, and an engine a folder."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
