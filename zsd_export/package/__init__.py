"""What a package says of its model, and the folder or zip that it is."""
