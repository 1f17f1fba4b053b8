"""Asks a server for predictions with NVIDIA's own client, which sends and takes
binary tensors unless told otherwise. Usage: triton_client.py HOST:PORT"""
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(url=sys.argv[1])
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("delays")
assert client.is_model_ready("delays", "1")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
metadata = client.get_model_metadata("delays")
assert [i["name"] for i in metadata["inputs"]] == ["flight_id", "date", "origin", "distance"], metadata

for binary in (True, False):
    inputs = []
    for name, datatype, values in [
        ("flight_id", "BYTES", np.array(["a", "b"], dtype=object)),
        ("origin", "BYTES", np.array(["ORD", "BOS"], dtype=object)),
        ("distance", "INT64", np.array([100, 200], dtype=np.int64)),
        ("date", "INT64", np.array([978739200000000, 978739200000000], dtype=np.int64)),
    ]:
        tensor = triton.InferInput(name, [2], datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    outputs = [triton.InferRequestedOutput(n, binary_data=binary) for n in ("late", "model_version")]
    result = client.infer("delays", inputs, outputs=outputs, request_id="7")
    assert result.get_response()["id"] == "7"
    late = result.as_numpy("late")
    assert late.dtype == np.float64 and late.shape == (2,), late
    assert abs(late[0] - 1 / (1 + np.exp(-0.3))) < 1e-6, late
    assert list(result.as_numpy("model_version")) == [1, 1]

try:
    wrong = triton.InferInput("origin", [1], "INT64")
    wrong.set_data_from_numpy(np.array([1], dtype=np.int64))
    client.infer("delays", [wrong])
    raise AssertionError("a wrong datatype was taken")
except InferenceServerException as error:
    assert "a string is BYTES" in str(error), error
print("ok")
