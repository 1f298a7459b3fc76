"""Reading, converting and writing files that hold networks."""
