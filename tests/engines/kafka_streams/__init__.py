"""The engine kafka-streams."""
