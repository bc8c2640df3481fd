"""Checks what a machine can see of docs/style.md."""
