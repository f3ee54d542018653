"""Networks of zsd, one stage a file."""
