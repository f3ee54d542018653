"""What is wrong with the pixels of a camera image, and the image without it."""
