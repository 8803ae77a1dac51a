"""Drawn images and small source networks, so that everything runs without a download."""
