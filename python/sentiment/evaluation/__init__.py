"""What a trained network answers: predictions, accuracies, sentiment maps."""
