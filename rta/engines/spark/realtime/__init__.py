"""Spark's real-time mode: a result in milliseconds. Experimental."""
