"""Engram as programs on real servers."""
