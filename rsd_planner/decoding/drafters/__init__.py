"""Drafters: one file each, one catalog of their names."""
