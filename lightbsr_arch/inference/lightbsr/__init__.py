"""LightBSR's own network for inference: folded, and exact over tiles."""
