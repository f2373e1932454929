"""The serving database."""
