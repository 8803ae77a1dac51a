"""Images on their way to a net: files, lists, databases, transformations."""
