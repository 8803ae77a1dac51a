"""Nets: from a definition to layers and blobs, and running them."""
