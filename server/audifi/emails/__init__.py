"""What became of the e-mails that were sent."""
