"""The network inside a brand: its regions, stores, staff, tills, long jobs and the trail of who did what."""
