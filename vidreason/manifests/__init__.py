"""Tables of videos: labels, splits, segments, captions."""
