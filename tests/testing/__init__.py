"""The kit that others prove their transforms with."""
