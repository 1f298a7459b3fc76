"""Everything that touches BasicSR's internals."""
