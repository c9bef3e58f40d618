"""What each metric says of changes whose size is known, measured on rendered OpenHeads."""
