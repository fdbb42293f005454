"""Weights and nets of other frameworks, in and out: a file or a folder a format, imported where it is asked for.

A reader gives a `Foreign` (foreign.py): arrays by name, how they lie, and whatever the file says of net, classes and
images. What is common to all is done here once: whose file it is (known.py), which array belongs to which layer
(match.py), and how it is laid out anew (layout.py); a net as its layers are said one by one (graph.py), and one whose
images were blue first (turning.py).
"""
