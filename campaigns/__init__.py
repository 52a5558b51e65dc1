"""Marketing: whom to reach, what was sent, what it brought."""
