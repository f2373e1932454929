"""The proofs: one file a module, plus the laws, the architecture, the README and the notebooks."""
