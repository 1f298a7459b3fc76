"""``python -m lightbsr``."""

from lightbsr import main

if __name__ == "__main__":
    raise SystemExit(main())
