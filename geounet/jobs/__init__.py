"""Jobs: what a user asks for, made of the other packages."""
