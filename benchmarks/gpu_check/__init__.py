"""Everything that only a GPU can tell: see ``__main__``."""
