"""Delivery status of sent e-mails."""
