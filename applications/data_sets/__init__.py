"""Data sets, read from their original files."""
