"""The documents that ship with the package for its demonstration."""
