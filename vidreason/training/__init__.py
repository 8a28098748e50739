"""What every trainer of the house shares: arguments, run skeleton, distributed means, facts for cards."""
