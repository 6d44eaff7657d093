"""Where the arrays lie in a file: pure plans by which a deposit cuts it."""
