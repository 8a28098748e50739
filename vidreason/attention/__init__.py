"""How faithful attention maps are, and pictures of them."""
