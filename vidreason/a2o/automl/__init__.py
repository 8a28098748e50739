"""A baseline without an agent that picks objects: a language model writes the recogniser's code, and sees how it does.

As in the paper's section 4.5.2 the code is all that the model decides: clips, training and evaluation are the same for
every attempt. **Code that a language model wrote is run here**, and only when that is asked for by a flag; `sandbox`
says how it is confined.
"""
