"""Who and where: brands, stores, staff, tills, and what each of them may see and do."""
