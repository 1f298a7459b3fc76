"""How the methods learn, one file each."""
