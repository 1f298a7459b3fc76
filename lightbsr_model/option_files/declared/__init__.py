"""What is declared of option files: sections, arguments by name, and what is made of them for people and editors."""
