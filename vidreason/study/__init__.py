"""What a comparison of runs needs: seeds, statistics, tables and plots. Each module stands on its own."""
