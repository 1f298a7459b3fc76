"""Training a network in BasicSR's loop, whatever its method."""
