"""Kinds of results: one file each, with everything that is to be known about it."""
