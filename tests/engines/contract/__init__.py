"""One contract, which every engine holds."""
