"""Models that come with zsd, a folder each: weights, the recipe that makes them, and a card for people."""
