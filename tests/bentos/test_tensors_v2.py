"""A tensor of the Open Inference Protocol holds what its datatype can hold, in JSON as in binary, or is refused."""

from typing import Any

import pytest

from bentos.runtime.errors import Field, Refused
from bentos.runtime.tensors_v2 import Tensor, values_of

BITS = {
    f"{kind}{bits}": (0 if kind == "UINT" else -(2 ** (bits - 1)), 2 ** (bits - (kind == "INT")) - 1) for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}
HELD = {datatype: f"a whole number from {least} to {most}" for datatype, (least, most) in BITS.items()} | {
    "FP16": "a number from -65504 to 65504",
    "FP32": "a number from -3.40282e+38 to 3.40282e+38",
    "FP64": "a number from -1.79769e+308 to 1.79769e+308",
    "BOOL": "true or false",
    "BYTES": "a string",
}
NAN, INFINITY = "NaN", "Infinity"
NO_INTEGERS = [(datatype, str(value)) for datatype, (least, most) in BITS.items() for value in (least - 1, most + 1, 37.9, 1e-20, NAN, INFINITY, 10**400)]
NO_FLOATS = [("FP16", "65505"), ("FP16", "-65504.1"), ("FP32", "3.5e38"), ("FP32", "-1e39"), ("FP64", str(10**400))]
OTHER_KINDS = [
    ("INT8", "true"),
    ("INT64", '"5"'),
    ("UINT8", "[5]"),
    ("FP64", "true"),
    ("FP32", '"1"'),
    ("FP64", "{}"),
    ("BOOL", "1"),
    ("BOOL", "0.0"),
    ("BYTES", "5"),
]
GOOD = {"BOOL": ("true", True), "BYTES": ('"UA"', "UA")}
CUT, NOT_UTF_8 = "The binary data end inside the value; each of BYTES has its length before it, in four bytes.", "The value is not text in UTF-8."


def tensor(datatype: str, *values: str, wide: bool = False) -> Tensor:
    """A tensor whose data are these texts of JSON; wide: of shape [n, 1]."""
    data, shape = ", ".join(f"[{value}]" if wide else value for value in values), [len(values), 1] if wide else [len(values)]
    return Tensor.model_validate_json(f'{{"name": "x", "shape": {shape}, "datatype": "{datatype}", "data": [{data}]}}')


@pytest.mark.parametrize(("datatype", "value"), NO_INTEGERS + NO_FLOATS + OTHER_KINDS)
@pytest.mark.parametrize("wide", [True, False])
def test_a_value_that_the_datatype_cannot_hold_is_refused_by_its_place_and_not_shown(datatype: str, value: str, wide: bool) -> None:
    good, _ = GOOD.get(datatype, ("5", 5))

    with pytest.raises(Refused) as refused:
        values_of(tensor(datatype, good, "null", value, good, value, wide=wide), b"")

    assert refused.value.fields == (Field(path="inputs.x.data.2", message=f"The value is not {datatype}: {HELD[datatype]}."),)


@pytest.mark.parametrize("datatype", HELD)
@pytest.mark.parametrize("wide", [True, False])
def test_what_a_datatype_holds_and_nulls_are_taken_as_they_are(datatype: str, wide: bool) -> None:
    good, value = GOOD.get(datatype, ("5.0", 5.0))
    numbers = BITS.get(datatype, (-65504, 65504.0) if datatype.startswith("FP") else ())

    assert values_of(tensor(datatype, good, "null", *map(str, numbers), wide=wide), b"rest") == ([value, None, *numbers], b"rest")
    assert values_of(tensor(datatype, "null", wide=wide), b"") == ([None], b"")


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_floats_may_be_no_number_or_infinite_which_the_contract_judges(datatype: str) -> None:
    values, _ = values_of(tensor(datatype, NAN, INFINITY, "-Infinity", "1"), b"")

    assert str(values) == "[nan, inf, -inf, 1]"


@pytest.mark.parametrize("data", [[[1, 2], []], [[1], 2], [[1], [[2]]], [1], [[1]], [1, 2, 3]])
def test_data_of_another_shape_are_refused(data: list[Any]) -> None:
    with pytest.raises(Refused):
        values_of(Tensor(name="x", shape=[2, 1], datatype="FP64", data=data), b"")


@pytest.mark.parametrize(
    ("data", "datatype", "path", "message"),
    [
        (b"\x02\0\0\0U", "BYTES", ".data.0", CUT),
        (b"\x02\0\0\0UA\x02\0\0\0U", "BYTES", ".data.1", CUT),
        (b"\xff\xff\xff\xffUA", "BYTES", ".data.0", CUT),
        (b"\x02\0", "BYTES", ".data.0", CUT),
        (b"\x02\0\0\0\xff\xfe", "BYTES", ".data.0", NOT_UTF_8),
        (b"\x02\0\0\0UA\x01\0\0\0\xe9", "BYTES", ".data.1", NOT_UTF_8),
        (b"\0" * 9, "FP64", "", "9 bytes are not a whole number of FP64, which has 8."),
        (b"\0" * 8, "FP32", "", "2 values do not fill the shape."),
    ],
)
def test_broken_binary_data_are_refused_and_told_what_is_wrong_with_them(data: bytes, datatype: str, path: str, message: str) -> None:
    told = Tensor.model_validate({"name": "x", "shape": [1], "datatype": datatype, "parameters": {"binary_data_size": len(data)}})

    with pytest.raises(Refused) as refused:
        values_of(told, data)

    assert refused.value.fields == (Field(path=f"inputs.x{path}", message=message),)
