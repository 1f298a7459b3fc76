"""Comparing methods on equal terms: the same LR images and metrics, with confidence intervals."""
