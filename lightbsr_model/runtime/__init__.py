"""What runs below everything else in a training: processes, random streams, averages."""
