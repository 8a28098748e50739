"""What reasoning supervision brings into a study: its data, its guidance, its folds."""
