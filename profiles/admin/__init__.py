"""What head office sees of people and of what it is told about them. One module a list."""

from profiles.admin import blocked, customers, review, sources, tickets
from profiles.imports import admin as imports

__all__ = ["blocked", "customers", "imports", "review", "sources", "tickets"]
