"""Questions about videos: the tables of questions, predictions and judgements, answering, scoring and training."""
