"""Where pre-trained networks and images come from: model cards, downloads, checksums."""
