"""What networks' representations encode of degradations."""
