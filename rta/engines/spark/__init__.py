"""Spark Structured Streaming: a checkpoint, a query, its accounting, a table."""
