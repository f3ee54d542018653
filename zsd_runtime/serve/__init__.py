"""A small web server on this computer: a page that shows a running restoration, behind a token."""
