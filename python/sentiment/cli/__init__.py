"""What the commands in tools/ share: options, help, exit status."""
