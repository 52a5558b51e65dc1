"""What leaves the platform: one module a destination format, one writer, every file logged."""
