"""Queries that fill tables and topics."""
