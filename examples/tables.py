"""Writes the tables of the examples."""

import csv


def write_csv(rows, path):
    """Writes dictionaries with the same keys as the rows of a CSV file."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
