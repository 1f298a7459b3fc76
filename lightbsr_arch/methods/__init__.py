"""The methods, one file each: their networks, and what they are."""
