"""The programs that run in the JVMs of other engines."""
