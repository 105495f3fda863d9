"""Transport-based enforcement system."""
