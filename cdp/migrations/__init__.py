"""Migrations of Django's own apps with 64-bit keys: see MIGRATION_MODULES in cdp/settings.py."""
