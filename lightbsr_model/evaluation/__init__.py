"""Figures and pictures of what a network restores."""
