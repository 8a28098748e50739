"""What the Space computes and draws. `app.py` beside this folder wires it to Gradio; nothing here needs it but `page`.

`settings` and `limits` say what is allowed, `reading` decodes in a process of its own, `checkpoints` loads models,
`guidance` finds guidance, `analysis` and `agreement` compute, `painting`, `charts` and `strip` draw, and `service`
answers a request from all of these, with a cache.
"""
