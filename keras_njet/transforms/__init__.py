"""What makes a new network, or new filters, of those that are given."""
