"""What every package uses: errors, files, locks, signals, progress, logging."""
