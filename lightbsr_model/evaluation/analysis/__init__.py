"""What a network's representation of degradations knows."""
