"""Tables, intervals, paired tests and plots. Knows no system."""
