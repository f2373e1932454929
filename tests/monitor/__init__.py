"""The health and the state of a query."""
