"""Speed and memory, two ways side by side in one run."""

import lightbsr_model  # noqa: F401 - BasicSR does not import without it
