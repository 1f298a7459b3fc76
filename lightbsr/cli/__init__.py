"""The commands of ``lightbsr``; each module has ``run(command, arguments)`` and imports what it needs."""
