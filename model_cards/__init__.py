"""Templates of the cards that `vidreason.cards` fills in, and the cards of released models."""
