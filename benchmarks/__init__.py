"""How fast and how well: each measures on this machine and prints its figures."""
