"""The model zoo as it is made: recipes, what they make, and how well that restores."""
