"""What only Android has."""
