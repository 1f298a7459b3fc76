"""The only place that touches BasicSR's internals."""
