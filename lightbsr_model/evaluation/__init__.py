"""Measuring and showing what networks restore."""
