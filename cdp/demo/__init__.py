"""A French franchise world to show: real basket tickets, invented people, customer files that disagree."""
