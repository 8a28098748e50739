"""A2O: an agent chooses what a detector looks for, and a video model is shown it while it learns."""
