"""Teachers that are asked by batch files: rounds.py writes them, results.py reads what comes back."""
