"""Nets: from a definition to layers and blobs, forward and backward."""
