"""The broker, topics, clients that are not ours."""
