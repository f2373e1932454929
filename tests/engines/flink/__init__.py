"""Apache Flink, a real one."""
