"""Kafka Streams as an engine: a Java program beside the kernel that ends with it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
