"""Points: earned, spent, expired, and always adding up."""
