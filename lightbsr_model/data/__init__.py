"""Images from disk, LMDB or scikit-image, and the data sets made of them."""
