"""Commands that make what the repository ships."""
