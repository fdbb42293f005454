"""The messages of Caffe that are read, and their fields: number, name and kind. What is not here is skipped in bytes.

Source: BVLC's caffe.proto. A kind is int, float, bool, string, floats and doubles (many, one after another, as an
array), the name of an enumeration, or that of another message.
"""

from dataclasses import dataclass
from functools import cache

ENUMERATIONS: dict[str, dict[int, str]] = {
    name: dict(enumerate(words.split()))
    for name, words in {
        "Phase": "TRAIN TEST",
        "Method": "MAX AVE STOCHASTIC",
        "Rounding": "CEIL FLOOR",
        "Region": "ACROSS_CHANNELS WITHIN_CHANNEL",
        "Operation": "PROD SUM MAX",
        "Database": "LEVELDB LMDB",
        "Engine": "DEFAULT CAFFE CUDNN",
        "Share": "STRICT PERMISSIVE",
        "Variance": "FAN_IN FAN_OUT AVERAGE",
        "Normalization": "FULL VALID BATCH_SIZE NONE",
        "SolverMode": "CPU GPU",
        "SolverType": "SGD NESTEROV ADAGRAD RMSPROP ADADELTA ADAM",
        "Format": "HDF5 BINARYPROTO",
        "LayerType": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT"
        " IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX"
        " SOFTMAX_LOSS SPLIT TANH WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX"
        " THRESHOLD DUMMY_DATA SLICE MVN ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION",
    }.items()
}
"""The words of each enumeration, by number."""

TODAY = {
    "BNLL": "BNLL",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "TANH": "TanH",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
}
"""What layers of the first version are called today, where that is not their words with large first letters."""

_LAYERS = """
    transform=TransformationParameter loss=LossParameter accuracy=AccuracyParameter argmax=Other concat=ConcatParameter
    contrastive_loss=Other convolution=ConvolutionParameter data=DataParameter dropout=DropoutParameter
    dummy_data=DummyDataParameter eltwise=EltwiseParameter exp=Other hdf5_data=HDF5DataParameter hdf5_output=Other
    hinge_loss=Other image_data=ImageDataParameter infogain_loss=Other inner_product=InnerProductParameter
    lrn=LRNParameter memory_data=MemoryDataParameter mvn=Other pooling=PoolingParameter power=PowerParameter
    relu=ReLUParameter sigmoid=Other softmax=SoftmaxParameter slice=SliceParameter tanh=Other threshold=Other
    window_data=WindowDataParameter python=Other prelu=PReLUParameter spp=Other reshape=ReshapeParameter log=Other
    flatten=FlattenParameter reduction=Other embed=Other tile=Other batch_norm=BatchNormParameter elu=ELUParameter
    bias=Other scale=ScaleParameter input=InputParameter crop=Other parameter=Other recurrent=Other
    swish=SwishParameter clip=ClipParameter
"""
"""What is particular to each type, numbered from 100 on."""

_MESSAGES = {
    "NetParameter": """1 name string, 2 layers V1LayerParameter, 3 input string, 4 input_dim int,
        5 force_backward bool, 6 state NetState, 7 debug_info bool, 8 input_shape BlobShape,
        100 layer LayerParameter""",
    "NetState": "1 phase Phase, 2 level int, 3 stage string",
    "NetStateRule": "1 phase Phase, 2 min_level int, 3 max_level int, 4 stage string, 5 not_stage string",
    "ParamSpec": "1 name string, 2 share_mode Share, 3 lr_mult float, 4 decay_mult float",
    "BlobShape": "1 dim int",
    "BlobProto": """1 num int, 2 channels int, 3 height int, 4 width int, 5 data floats, 7 shape BlobShape,
        8 double_data doubles""",
    "FillerParameter": """1 type string, 2 value float, 3 min float, 4 max float, 5 mean float, 6 std float,
        7 sparse int, 8 variance_norm Variance""",
    "LayerParameter": """1 name string, 2 type string, 3 bottom string, 4 top string, 5 loss_weight float,
        6 param ParamSpec, 7 blobs BlobProto, 8 include NetStateRule, 9 exclude NetStateRule, 10 phase Phase,
        11 propagate_down bool, """
    + ", ".join(
        f"{number} {name}_param {kind}"
        for number, (name, _, kind) in enumerate((entry.partition("=") for entry in _LAYERS.split()), 100)
    ),
    "V1LayerParameter": """1 layer Other, 2 bottom string, 3 top string, 4 name string, 5 type LayerType,
        6 blobs BlobProto, 7 blobs_lr float, 8 weight_decay float, 9 concat_param ConcatParameter,
        10 convolution_param ConvolutionParameter, 11 data_param DataParameter, 12 dropout_param DropoutParameter,
        13 hdf5_data_param HDF5DataParameter, 14 hdf5_output_param Other, 15 image_data_param ImageDataParameter,
        16 infogain_loss_param Other, 17 inner_product_param InnerProductParameter, 18 lrn_param LRNParameter,
        19 pooling_param PoolingParameter, 20 window_data_param WindowDataParameter, 21 power_param PowerParameter,
        22 memory_data_param MemoryDataParameter, 23 argmax_param Other, 24 eltwise_param EltwiseParameter,
        25 threshold_param Other, 26 dummy_data_param DummyDataParameter, 27 accuracy_param AccuracyParameter,
        29 hinge_loss_param Other, 30 relu_param ReLUParameter, 31 slice_param SliceParameter, 32 include NetStateRule,
        33 exclude NetStateRule, 34 mvn_param Other, 35 loss_weight float, 36 transform_param TransformationParameter,
        37 tanh_param Other, 38 sigmoid_param Other, 39 softmax_param SoftmaxParameter, 40 contrastive_loss_param Other,
        41 exp_param Other, 42 loss_param LossParameter, 1001 param string, 1002 blob_share_mode Share""",
    "Other": "",
    "TransformationParameter": """1 scale float, 2 mirror bool, 3 crop_size int, 4 mean_file string,
        5 mean_value float, 6 force_color bool, 7 force_gray bool""",
    "LossParameter": "1 ignore_label int, 2 normalize bool, 3 normalization Normalization",
    "AccuracyParameter": "1 top_k int, 2 axis int, 3 ignore_label int",
    "SoftmaxParameter": "1 engine Engine, 2 axis int",
    "ConcatParameter": "1 concat_dim int, 2 axis int",
    "ConvolutionParameter": """1 num_output int, 2 bias_term bool, 3 pad int, 4 kernel_size int, 5 group int,
        6 stride int, 7 weight_filler FillerParameter, 8 bias_filler FillerParameter, 9 pad_h int, 10 pad_w int,
        11 kernel_h int, 12 kernel_w int, 13 stride_h int, 14 stride_w int, 15 engine Engine, 16 axis int,
        17 force_nd_im2col bool, 18 dilation int""",
    "DataParameter": """1 source string, 2 scale float, 3 mean_file string, 4 batch_size int, 5 crop_size int,
        6 mirror bool, 7 rand_skip int, 8 backend Database, 9 force_encoded_color bool, 10 prefetch int""",
    "ImageDataParameter": """1 source string, 2 scale float, 3 mean_file string, 4 batch_size int, 5 crop_size int,
        6 mirror bool, 7 rand_skip int, 8 shuffle bool, 9 new_height int, 10 new_width int, 11 is_color bool,
        12 root_folder string""",
    "HDF5DataParameter": "1 source string, 2 batch_size int, 3 shuffle bool",
    "WindowDataParameter": "1 source string, 2 scale float, 3 mean_file string, 4 batch_size int, 5 crop_size int",
    "MemoryDataParameter": "1 batch_size int, 2 channels int, 3 height int, 4 width int",
    "DummyDataParameter": "1 data_filler FillerParameter, 2 num int, 3 channels int, 4 height int, 5 width int, "
    "6 shape BlobShape",
    "DropoutParameter": "1 dropout_ratio float, 2 scale_train bool",
    "EltwiseParameter": "1 operation Operation, 2 coeff float, 3 stable_prod_grad bool",
    "InnerProductParameter": """1 num_output int, 2 bias_term bool, 3 weight_filler FillerParameter,
        4 bias_filler FillerParameter, 5 axis int, 6 transpose bool""",
    "LRNParameter": "1 local_size int, 2 alpha float, 3 beta float, 4 norm_region Region, 5 k float, 6 engine Engine",
    "PoolingParameter": """1 pool Method, 2 kernel_size int, 3 stride int, 4 pad int, 5 kernel_h int, 6 kernel_w int,
        7 stride_h int, 8 stride_w int, 9 pad_h int, 10 pad_w int, 11 engine Engine, 12 global_pooling bool,
        13 round_mode Rounding""",
    "PowerParameter": "1 power float, 2 scale float, 3 shift float",
    "ReLUParameter": "1 negative_slope float, 2 engine Engine",
    "SliceParameter": "1 slice_dim int, 2 slice_point int, 3 axis int",
    "PReLUParameter": "1 filler FillerParameter, 2 channel_shared bool",
    "ELUParameter": "1 alpha float",
    "ReshapeParameter": "1 shape BlobShape, 2 axis int, 3 num_axes int",
    "FlattenParameter": "1 axis int, 2 end_axis int",
    "BatchNormParameter": "1 use_global_stats bool, 2 moving_average_fraction float, 3 eps float",
    "ScaleParameter": """1 axis int, 2 num_axes int, 3 filler FillerParameter, 4 bias_term bool,
        5 bias_filler FillerParameter""",
    "InputParameter": "1 shape BlobShape",
    "SwishParameter": "1 beta float",
    "ClipParameter": "1 min float, 2 max float",
    "SolverParameter": """1 train_net string, 2 test_net string, 3 test_iter int, 4 test_interval int, 5 base_lr float,
        6 display int, 7 max_iter int, 8 lr_policy string, 9 gamma float, 10 power float, 11 momentum float,
        12 weight_decay float, 13 stepsize int, 14 snapshot int, 15 snapshot_prefix string, 16 snapshot_diff bool,
        17 solver_mode SolverMode, 18 device_id int, 19 test_compute_loss bool, 20 random_seed int,
        21 train_net_param NetParameter, 22 test_net_param NetParameter, 23 debug_info bool, 24 net string,
        25 net_param NetParameter, 26 train_state NetState, 27 test_state NetState, 28 snapshot_after_train bool,
        29 regularization_type string, 30 solver_type SolverType, 31 delta float, 32 test_initialization bool,
        33 average_loss int, 34 stepvalue int, 35 clip_gradients float, 36 iter_size int, 37 snapshot_format Format,
        38 rms_decay float, 39 momentum2 float, 40 type string, 41 layer_wise_reduce bool, 42 weights string""",
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message."""

    number: int
    name: str
    kind: str


@cache
def fields(message: str) -> dict[str, Field]:
    """The fields of a message by name."""
    entries = (entry.split() for entry in _MESSAGES[message].split(",") if entry.strip())
    return {name: Field(int(number), name, kind) for number, name, kind in entries}


@cache
def numbered(message: str) -> dict[int, Field]:
    """The fields of a message by number."""
    return {field.number: field for field in fields(message).values()}


def is_message(kind: str) -> bool:
    """Whether a kind is that of a message within a message."""
    return kind in _MESSAGES


def today(word: str) -> str:
    """What a layer of the first version, like INNER_PRODUCT, is called today: InnerProduct."""
    return TODAY.get(word) or "".join(part.capitalize() for part in word.split("_"))
