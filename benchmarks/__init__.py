"""What the platform does in a second: each module measures one thing and prints its figures."""
