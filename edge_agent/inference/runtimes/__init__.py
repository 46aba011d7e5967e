"""The libraries that execute graphs, one door each, and the table that lists them."""
