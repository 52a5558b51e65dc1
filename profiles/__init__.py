"""People: what each source said about them, which records are one person, and what may be done with it."""
