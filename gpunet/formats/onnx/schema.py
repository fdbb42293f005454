"""The messages of an ONNX file, and the numbers of their fields. Source: onnx/onnx.proto, IR version 10."""

from gpunet.formats.protobuf import Field, Schema

ENTRY = Schema({1: Field("key", "text"), 2: Field("value", "text")})

TENSOR = Schema(
    {
        1: Field("dims", "int", many=True),
        2: Field("data_type", "int"),
        4: Field("float_data", "float", many=True),
        5: Field("int32_data", "int", many=True),
        7: Field("int64_data", "int", many=True),
        8: Field("name", "text"),
        9: Field("raw_data", "bytes"),
        10: Field("double_data", "double", many=True),
        11: Field("uint64_data", "int", many=True),
        13: Field("external_data", ENTRY, many=True),
        14: Field("data_location", "int"),
    }
)

ATTRIBUTE = Schema(
    {
        1: Field("name", "text"),
        2: Field("f", "float"),
        3: Field("i", "int"),
        4: Field("s", "text"),
        5: Field("t", TENSOR),
        6: Field("g", "bytes"),  # a graph, read where it is asked for
        7: Field("floats", "float", many=True),
        8: Field("ints", "int", many=True),
        9: Field("strings", "text", many=True),
        20: Field("type", "int"),
    }
)

NODE = Schema(
    {
        1: Field("input", "text", many=True),
        2: Field("output", "text", many=True),
        3: Field("name", "text"),
        4: Field("op_type", "text"),
        5: Field("attribute", ATTRIBUTE, many=True),
        7: Field("domain", "text"),
    }
)

DIMENSION = Schema({1: Field("dim_value", "int"), 2: Field("dim_param", "text")})
SHAPE = Schema({1: Field("dim", DIMENSION, many=True)})
TENSOR_TYPE = Schema({1: Field("elem_type", "int"), 2: Field("shape", SHAPE)})
TYPE = Schema({1: Field("tensor_type", TENSOR_TYPE)})
VALUE = Schema({1: Field("name", "text"), 2: Field("type", TYPE), 3: Field("doc_string", "text")})

GRAPH = Schema(
    {
        1: Field("node", NODE, many=True),
        2: Field("name", "text"),
        5: Field("initializer", TENSOR, many=True),
        11: Field("input", VALUE, many=True),
        12: Field("output", VALUE, many=True),
        13: Field("value_info", VALUE, many=True),
    }
)

OPSET = Schema({1: Field("domain", "text"), 2: Field("version", "int")})

MODEL = Schema(
    {
        1: Field("ir_version", "int"),
        2: Field("producer_name", "text"),
        3: Field("producer_version", "text"),
        7: Field("graph", GRAPH),
        8: Field("opset_import", OPSET, many=True),
        14: Field("metadata_props", ENTRY, many=True),
    }
)

ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "t": 4, "g": 5, "floats": 6, "ints": 7, "strings": 8}
"""What an attribute says of itself, by the field that holds it."""

CLASSES, ENTERS, WHITE = "classes", "enters", "white"
"""What files of ours say beside, by these keys: the names of classes; how pixels enter, where no node says it; which
value of theirs is white, where that is not 255."""
