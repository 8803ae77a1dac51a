"""The web page of tools/serve.py."""
