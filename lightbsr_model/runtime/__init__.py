"""The lowest layer of a training: processes, random streams, weight averages."""
