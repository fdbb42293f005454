"""Slips that a type checker must find: each line with a mark, and no other."""

import gpunet
from gpunet.data import digits

net = gpunet.load("vgg_digits")
gpunet.Modle(net)  # attr-defined
gpunet.plan(net, device="gpu")  # arg-type
gpunet.plan(net, dtype="float8")  # arg-type
gpunet.plan(net, optimizer="adamm")  # arg-type
gpunet.plan(net, optimizer=gpunet.Adam)  # arg-type
gpunet.plan(net, mode="test")  # arg-type
gpunet.plan(net, ways=["recompte"])  # list-item
gpunet.fit(net, "6GiB", optimiser="sgd")  # call-arg
gpunet.fit(net, "6GiB", device="tpu")  # arg-type
gpunet.fit(net, "6GiB", budget="6GiB")  # misc
model = gpunet.Model(net, device="gpu")  # arg-type
model.learning_rate = "0.1"  # assignment
model.fit(digits(), schedule="cos")  # arg-type
model.fit(digits(), epoch=3)  # call-arg
model.fit(digits(), on_step=lambda: True)  # arg-type misc
gpunet.Model.load("model.safetensors", device="gpu")  # arg-type
gpunet.Adam(beta3=0.5)  # call-arg
gpunet.Learning(decay="biases")  # arg-type
gpunet.plan(net).tabel()  # attr-defined
