"""The command line of geounet."""
