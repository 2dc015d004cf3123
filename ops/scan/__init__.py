"""What a query will read, and cost, before it runs."""
