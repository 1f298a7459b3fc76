"""The version, in one place for setup.py, the command line and checkpoints."""

__version__ = "0.1.0"
