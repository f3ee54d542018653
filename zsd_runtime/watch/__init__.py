"""Watch a folder: restore each image once, when it is finished."""
