"""Which trainings each part of the paper needs, and where they run."""
