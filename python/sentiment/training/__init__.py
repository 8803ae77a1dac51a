"""One run: its configuration, schedule, folder, snapshots and logs."""
