"""Filters for the pages about people."""
