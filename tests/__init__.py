"""The proofs: a folder for each room of `rta`; here what holds for all of it."""
