"""The model as every peer but MLflow opens it: one session, one thread."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FOLDER = Path(os.environ["BENCH_ARTEFACT"])
TYPES = {"tensor(string)": (np.dtype(object), ""), "tensor(float)": (np.dtype("float32"), math.nan)}

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(str(FOLDER / "model.onnx"), options, providers=["CPUExecutionProvider"])
listed = session.get_modelmeta().custom_metadata_map  # the features of an input that takes several
inputs = [(put.name, json.loads(listed[put.name]) if put.name in listed else [put.name], *TYPES[put.type]) for put in session.get_inputs()]
texts = {name for _, names, _, null in inputs if null == "" for name in names}
output = session.get_outputs()[-1].name


def score(rows: Sequence[dict[str, Any]]) -> list[float]:
    """Probability of true for each row."""
    feed = {}
    for name, names, dtype, null in inputs:
        feed[name] = np.array([[null if row[each] is None else row[each] for each in names] for row in rows], dtype)
    found: list[float] = session.run([output], feed)[0][:, 1].tolist()
    return found
