"""The database's disk is full: writers are told to come back, who only asks is served, and all heals with the space."""
