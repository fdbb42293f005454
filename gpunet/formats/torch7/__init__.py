"""Torch7: nets and weights in .t7, read without Lua.

objects.py  the objects of a file, and nothing run
modules.py  each class of modules as layers of gpunet; filters.py, settings.py
sayer.py    which module takes what
read.py     the net in a file
"""
