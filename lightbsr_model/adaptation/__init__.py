"""Adapting a trained network to LR images of which there are no HR images: one code for every method that does so."""
