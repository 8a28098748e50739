"""From a guidance table to what goes to the Hub: `folder` writes and sends it, `checks` looks at every row on its way,
`card` tells how it was made, `example` draws the picture on the card."""
