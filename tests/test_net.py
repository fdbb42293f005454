"""Nets: names, volumes, parameters, and what is refused."""

import pytest

import gpunet
from gpunet import FC, ConfigError, Conv, MaxPool, Net, Node, ReLU, ShapeError, Volume

# The notes' listing of VGG-16: volume and weights (without biases) of every row that is no ReLU.
VGG16_ROWS = [
    ("conv1", (224, 224, 64), 1_728),
    ("conv2", (224, 224, 64), 36_864),
    ("pool1", (112, 112, 64), 0),
    ("conv3", (112, 112, 128), 73_728),
    ("conv4", (112, 112, 128), 147_456),
    ("pool2", (56, 56, 128), 0),
    ("conv5", (56, 56, 256), 294_912),
    ("conv6", (56, 56, 256), 589_824),
    ("conv7", (56, 56, 256), 589_824),
    ("pool3", (28, 28, 256), 0),
    ("conv8", (28, 28, 512), 1_179_648),
    ("conv9", (28, 28, 512), 2_359_296),
    ("conv10", (28, 28, 512), 2_359_296),
    ("pool4", (14, 14, 512), 0),
    ("conv11", (14, 14, 512), 2_359_296),
    ("conv12", (14, 14, 512), 2_359_296),
    ("conv13", (14, 14, 512), 2_359_296),
    ("pool5", (7, 7, 512), 0),
    ("fc1", (1, 1, 4096), 102_760_448),
    ("fc2", (1, 1, 4096), 16_777_216),
    ("fc3", (1, 1, 1000), 4_096_000),
]


def vgg16() -> Net:
    layers = []
    for count, K in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        layers += [Conv(K), ReLU()] * count + [MaxPool(2)]
    return Net("224x224x3", [*layers, FC(4096), ReLU(), FC(4096), ReLU(), FC(1000)], name="vgg16")


def test_vgg16_has_the_volumes_and_weights_of_the_notes_row_by_row():
    net = vgg16()
    rows = [node for node in net.nodes if node.layer.type != "relu"]
    assert len(rows) == len(VGG16_ROWS)
    for node, (name, volume, weights) in zip(rows, VGG16_ROWS, strict=True):
        assert (node.name, net.volumes[node.name].shape) == (name, volume)
        biases = volume[2] if weights else 0
        assert net.layer_parameters(node) == weights + biases
    assert net.parameters == 138_357_544
    values = [net.input.values, *(net.volumes[node.name].values for node in rows)]
    assert sum(values) == 15_237_608


def test_alexnets_first_layer_shares_its_weights():
    net = Net("227x227x3", [Conv(96, F=11, S=4, P=0)])
    assert net.output == Volume(55, 55, 96)
    assert net.output.values == 290_400
    assert net.parameters == 34_848 + 96


def test_layers_are_numbered_by_kind_unless_they_are_named():
    net = Net("8x8x3", [Conv(4), ReLU(), ("stem", Conv(4)), Conv(4), MaxPool(2), FC(3)])
    assert [node.name for node in net.nodes] == ["conv1", "relu1", "stem", "conv3", "pool1", "fc1"]
    assert net.nodes[2].inputs == ("relu1",)


def test_an_error_names_the_layer_and_the_numbers():
    with pytest.raises(
        ShapeError,
        match=r"conv2: F=3, S=2, P=0 does not fit 10x10, as .* = 4\.5: 11 or 9 would fit, or .*S=1, or fit='pad'",
    ):
        Net("10x10x3", [Conv(4), Conv(4, S=2, P=0)])


def test_a_layers_fit_policy_wins_over_the_nets():
    layers = [Conv(4, S=2, P=0, fit="pad"), MaxPool(2)]
    assert Net("10x10x3", layers, fit="crop").output == Volume(2, 2, 4)
    assert Net("10x10x3", layers, fit="pad").output == Volume(3, 3, 4)
    assert Net("11x12x3", [MaxPool(3, S=2)], fit="crop").output == Volume(5, 5, 3)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([], "no layers"),
        ([("a", Conv(4)), ("a", FC(3))], "two layers are called a"),
        ([("input", Conv(4))], "two layers are called input"),
        ([("1st", Conv(4))], "not a layer name"),
        ([Node("a", Conv(4), ("b",)), FC(3)], "takes 'b', which no layer before it"),
        ([Node("a", Conv(4), ("input",)), Node("b", Conv(4), ("input",))], "2 layers take|nothing takes"),
        (["CONV3-64"], "is not a layer"),
    ],
)
def test_a_graph_that_cannot_be_is_refused(layers, words):
    with pytest.raises(ConfigError, match=words):
        Net("8x8x3", layers)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda K=K: Conv(K) for K in (0, 2.5, True)),
        *(lambda given=given: Conv(4, **given) for given in ({"F": 0}, {"F": 2}, {"P": -1}, {"S": 0})),
        *(lambda F=F: MaxPool(F) for F in (0, 300)),
        *(lambda given=given: MaxPool(2, **given) for given in ({"P": 2}, {"S": 0})),
        lambda: FC(-3),
    ],
)
def test_layers_refuse_numbers_that_make_no_sense(make):
    with pytest.raises(ConfigError):
        make()


def test_an_unknown_fit_policy_is_refused_by_net_and_layers():
    with pytest.raises(ConfigError, match="fit must be one of error, pad, crop"):
        Net("8x8x3", [FC(3)], fit="stretch")
    with pytest.raises(ConfigError, match="fit must be one of error, pad, crop"):
        Conv(4, fit="stretch")
    with pytest.raises(ConfigError, match="fit must be one of error, pad, crop"):
        MaxPool(2, fit="stretch")


def test_a_scaled_net_has_so_many_filters_but_the_same_scores():
    net = gpunet.load("INPUT[16x12x3] -> CONV3-20 -> { CONV3-20 + ID } -> RELU -> POOL2 -> FC-9 -> RELU -> FC-5")
    small = net.scaled(0.25, "8x8x1")
    assert [getattr(node.layer, "K", None) for node in small.nodes] == [5, 5, None, None, None, 2, None, 5]
    assert small.input == Volume(8, 8, 1)
    assert (net.scaled(), net.scaled(width=2).scaled(0.5)) == (net, net)
    assert gpunet.load("INPUT[8x8x3] -> CONV3-7 -> CONV1-10 -> RELU -> GAP").scaled(0.01).volumes["relu1"].D == 10


def test_a_depthwise_convolution_is_scaled_with_the_maps_that_it_takes():
    text = """INPUT[8x8x4] -> CONV3-16 -> CONV3-32(groups=16) -> { ID * GAP -> FC-32 -> SIGMOID }
        -> CONV3-24(groups=4) -> FC-3"""
    net = gpunet.load(text)
    small = net.scaled(0.25)
    assert small.nodes[:2] == (Node("conv1", Conv(4, fit="error"), ("input",)), net.scaled(0.25).nodes[1])
    deep, gate, grouped = (small.nodes[number].layer for number in (1, 3, 6))
    assert (deep.K, deep.groups, gate.K, grouped.K, grouped.groups) == (8, 4, 8, 8, 4)
    assert net.scaled() == net
    assert gpunet.load("mobilenet_v2").scaled(0.5).nodes[3].layer == Conv(16, 3, groups=16, bias=False, fit="crop")
    with pytest.raises(ShapeError, match="slice1: first=0, last=3 is no slice of 2 maps"):
        gpunet.load("INPUT[8x8x3] -> CONV3-4 -> SLICE(last=3) -> FC-2").scaled(0.5)


def test_what_scales_a_net_must_make_sense():
    net = gpunet.load("INPUT[16x12x3] -> CONV3-20 -> POOL5 (fit=crop) -> FC-9")
    for width in (0, -1, float("nan"), True, "2"):
        with pytest.raises(ConfigError, match=r"the width must be a number above 0, like 0\.5"):
            net.scaled(width)
    with pytest.raises(ConfigError, match="cannot read '8x8' as a volume"):
        net.scaled(1, "8x8")
    with pytest.raises(ShapeError, match="pool1: F=5 is larger than the input of 4"):
        net.scaled(1, "4x4x3")
