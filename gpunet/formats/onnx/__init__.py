"""ONNX, in and out, read and written by the project itself.

    file.py       a file as nodes and constants: schema.py its fields, tensors.py its numbers
    importing.py  nodes -> layers, by the tables of the other modules; what cannot be said is named, all of it at once
    exporting.py  layers -> nodes

In between stand what both ways share: units.py, the ops that treat all values alike.
"""
