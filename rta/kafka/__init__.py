"""Kafka: the embedded broker, one client, topics and their offsets, records, the paced producer."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
