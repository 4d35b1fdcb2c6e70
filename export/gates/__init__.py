"""What a bundle has to pass before it is written."""
