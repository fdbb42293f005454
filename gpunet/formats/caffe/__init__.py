"""Nets of Caffe: the text of a net (.prototxt) and of a solver, trained weights (.caffemodel) and means (.binaryproto).

All are messages of protobuf, as text (text.py) or as bytes (wire.py), of the kinds in schema.py. A net's layers, wired
(wiring.py), are said one by one in layers.py; units.py has the simple ones. entering.py says how images entered,
solver.py how a solver trains. Source: BVLC's caffe.proto and the layers behind it.
"""
