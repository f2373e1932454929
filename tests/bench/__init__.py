"""The bench without running a row."""
