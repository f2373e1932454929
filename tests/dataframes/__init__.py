"""Topics as DataFrames."""
