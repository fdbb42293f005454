"""Keras: nets and weights in .keras, .h5 and .weights.h5, in and out.

topology.py  what a config says of the layers and who takes whose output, in the forms of Keras 1, 2 and 3
layers.py    each class of layers as layers of gpunet; filters.py, windows.py, joining.py, views.py, activations.py
net.py       a topology as a net
hdf5.py      the arrays in an HDF5 file, read with care
read.py      the three kinds of files
definition.py  a net without weights, in JSON
names.py     which array of a .weights.h5 is which parameter of a net
write.py     a .weights.h5 that Keras 3 loads, and the Python file that builds the model; steps.py, said.py
"""
