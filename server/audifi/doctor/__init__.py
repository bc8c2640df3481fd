"""`python -m audifi doctor`: what is wrong, and what to do about it. Its checks ask; they change nothing."""
