"""Commands that run networks; they need no BasicSR, and load none."""
