"""Speed and memory of this package against the plain formulation, interleaved in one run."""

import lightbsr_model  # noqa: F401 - BasicSR does not import without it
