"""See a stream move: live views in a cell, what runs, history played again."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
