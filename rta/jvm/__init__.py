"""What rta runs inside the JVMs of Spark, Flink and Kafka Streams: small Java programs, compiled once into rta-engines.jar."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
