"""Comparing methods on equal terms: the same LR images, the same figures, and how sure they are."""
