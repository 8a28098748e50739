"""From tables and models to what goes to the Hub.

`guidance_folder` writes and sends a guidance table, `checks` looks at every row on its way, `guidance_card` tells how
it was made; `cards` writes the cards of models, and `release` sends models and the Space.
"""
