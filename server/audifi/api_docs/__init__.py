"""What a person or a machine finds who comes without knowing the API."""
