"""The one law."""
