"""How RDSR adapts: a downsampler is fitted to LR images, and makes pairs of sharp references (arXiv 2507.13915)."""
