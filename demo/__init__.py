"""A tenant to look at: two months of a firm that never was."""
