"""What a package promises, measured before it is written."""
