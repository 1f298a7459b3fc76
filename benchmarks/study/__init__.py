"""A small study: all methods at one reduced budget, and the main ablations of LightBSR."""
