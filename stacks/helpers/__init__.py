"""What more than one construct uses."""
