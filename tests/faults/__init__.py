"""Each fault of README.md, made to happen."""
