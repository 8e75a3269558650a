"""What a host may believe of a store (TUF), and what it remembers."""
