"""What the Space computes and draws. `app.py` beside this folder wires it to Gradio.

Only `page`, `handlers` and `checked_blocks` need Gradio. `settings` and `limits` say what is allowed, `reading`
decodes in a process of its own, `checkpoints` loads models, `guidance` finds guidance, `analysis` and `agreement`
compute, `painting`, `charts` and `strip` draw, `detectors`, `objects` and `object_pictures` are for object maps,
`scratch` keeps and deletes what visitors leave, and `service` answers a request from all of these, with a cache.
"""
