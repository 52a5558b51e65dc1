"""English as Great Britain writes it: Django's `en` is American."""
