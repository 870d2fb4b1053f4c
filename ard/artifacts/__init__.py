"""What is stored: records, cards, weights, checkpoints and metrics, each with one reader and one writer."""
