"""Looking into a model: its σ and sizes in the terminal, and in pictures."""
