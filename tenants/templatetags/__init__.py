"""Filters that every page of a brand may use."""
