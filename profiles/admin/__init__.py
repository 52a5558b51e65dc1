"""What head office sees of people and of where their data come from. One module a list."""

from profiles.admin import blocked, connectors, customers, events, review, sources, tickets
from profiles.imports import admin as imports

__all__ = ["blocked", "connectors", "customers", "events", "imports", "review", "sources", "tickets"]
