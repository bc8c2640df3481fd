"""`python -m audifi doctor`: checks of the environment, with what to do about each problem."""
