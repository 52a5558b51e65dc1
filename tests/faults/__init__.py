"""The till proven under faults: a real server, a database that is killed, tills that send again until they hear."""
