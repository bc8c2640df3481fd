"""Plans, what each one contains, and what accounts use of it."""
