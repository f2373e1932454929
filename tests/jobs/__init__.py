"""Notebooks as jobs."""
