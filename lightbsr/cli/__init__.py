"""The commands of ``lightbsr``; each module has ``run(command, arguments)``. Importing one loads what it needs."""
