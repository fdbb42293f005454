"""Words of other frameworks, and of the notes, that are no layers here: what to write instead."""

import re
from collections.abc import Iterable

from gpunet.net.words import listed, nearest

SAME = {
    "POOL": "MAXPOOL MAXPOOLING MAXPOOL2D MAX SUBSAMPLING",
    "AVGPOOL": "AVERAGEPOOL AVERAGEPOOLING AVGPOOLING AVGPOOL2D MEANPOOL",
    "GAP": "GLOBALAVGPOOL GLOBALAVERAGEPOOL GLOBALAVERAGEPOOLING",
    "GMP": "GLOBALMAXPOOL GLOBALMAXPOOLING ADAPTIVEMAXPOOL ADAPTIVEMAXPOOL2D",
    "ADAPTIVE": "ADAPTIVEAVGPOOL ADAPTIVEAVGPOOL2D ADAPTIVEAVERAGEPOOL",
    "BN": "BATCHNORM BATCHNORM2D BATCHNORMALIZATION",
    "LRN": "LOCALRESPONSENORM LOCALRESPONSENORMALIZATION NORM",
    "CONV": "CONV2D CONVOLUTION CONVOLUTION2D CONVOLUTIONAL",
    "LOCAL": "LOCALLYCONNECTED LOCALLYCONNECTED2D",
    "FC": "DENSE LINEAR FULLYCONNECTED AFFINE INNERPRODUCT",
    "LRELU": "LEAKYRELU",
    "SIGMOID": "LOGISTIC",
    "SILU": "SWISH",
    "HARDSWISH": "HSWISH",
    "HARDSIGMOID": "HSIGMOID",
    "CLIP": "CLAMP BRELU",
    "CLIP(low=-1, high=1)": "HARDTANH",
    "DROPOUT": "DROP",
    "DROPOUT(of=maps)": "DROPOUT2D SPATIALDROPOUT SPATIALDROPOUT2D",
    "DROPOUT(of=images)": "STOCHASTICDEPTH DROPPATH",
    "SHUFFLE": "CHANNELSHUFFLE SHUFFLECHANNEL SHUFFLECHANNELS",
}
"""Layers that are called otherwise elsewhere; white space, _ and - are left out."""

REASONS = {
    "FLATTEN RESHAPE VIEW": "FC takes a volume of any shape, so nothing need be flattened; leave it out",
    "SOFTMAX LOGSOFTMAX CROSSENTROPY SOFTMAXWITHLOSS": "softmax belongs to the loss; end in FC and leave it out",
    "OUTPUT SCORES": "the last layer's output holds the scores; leave it out",
    "SELU CELU MISH SOFTSIGN": (
        "that function is not there; RELU, ELU, SILU and GELU are, and gpunet.add_layer takes one of your own"
    ),
    "SKIP RESIDUAL SHORTCUT IDENTITY": "write { A + ID } to add what comes before to the output of A",
    "ELTWISE SUM PROD PRODUCT MUL": "write { A + B } for a sum, { A * B } for a product, { A max B } for a maximum",
    "SE SQUEEZEEXCITE SQUEEZEEXCITATION": "write { ID * GAP -> FC-4 -> RELU -> FC-64 -> SIGMOID }, of 64 maps",
    "DECONV DECONVOLUTION CONVTRANSPOSE CONVTRANSPOSE2D UPSAMPLE UNPOOL": "no layer here makes a volume larger",
}
"""Why there is no such layer, and what to do."""

OPTIONS = {
    "K": "filters outchannels numoutput units outfeatures channels",
    "F": "kernel kernelsize poolsize size window",
    "S": "stride strides",
    "P": "padding pad",
    "dilation": "dilationrate",
    "groups": "group",
    "bias": "usebias biasterm",
    "alpha": "slope negativeslope",
    "p": "rate ratio dropoutratio prob",
    "eps": "epsilon",
    "affine": "scale center",
    "n": "localsize depthradius",
    "counts": "count countincludepad",
    "shared": "channelshared",
}
"""Options that are called otherwise elsewhere, in small letters without _."""

_SAME = {word: ours for ours, words in SAME.items() for word in words.split()}
_OPTIONS = {word: ours for ours, words in OPTIONS.items() for word in words.split()}
_REASONS = {word: reason for words, reason in REASONS.items() for word in words.split()}


def instead(text: str, known: Iterable[str]) -> str:
    """What to write for a word, and the numbers behind it, that is no layer: the end of a message."""
    known = list(known)
    plain = re.sub("[_-]", "", text.upper())
    letters = plain.rstrip("0123456789")
    if plain != text and (plain in known or letters in known):
        return f"; layers are written in capitals: {plain}" if text.upper() == plain else f"; write {plain}"
    for word in (plain, letters):
        if word in _REASONS:
            return f"; {_REASONS[word]}"
        if word in _SAME:
            return f"; write {_SAME[word]}{plain[len(word) :]}"
    return nearest(letters, known) or f"; there are {listed(known)}"


def option_instead(text: str, known: Iterable[str]) -> str:
    """What to write for an option that a layer does not have, of those that are known: the end of a message."""
    known = list(known)
    ours = _OPTIONS.get(text.lower().replace("_", ""))
    return f"; did you mean {ours}?" if ours in known else nearest(text, known)
