"""Classify with a baked classifier and nothing but ONNX Runtime.

    edge-adapt bake mine.edge -o mine.onnx
    python classify.py mine.onnx photo.ppm

A picture is a binary PPM or PGM file of the size that the model takes.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def batch(path: str) -> np.ndarray:
    """A batch of one, uint8 [1, H, W, C]."""
    data = Path(path).read_bytes()
    found = re.match(rb"(P[56])\s+(\d+)\s+(\d+)\s+255\s", data)
    if not found:
        sys.exit(f"{path} is no binary PPM or PGM file; convert the picture first.")
    header, kind, width, height = found.group(0, 1, 2, 3)
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(
        1, int(height), int(width), 3 if kind == b"P6" else 1
    )


session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
labels, unknown_at = json.loads(metadata["labels"]), json.loads(metadata["unknown_at"])
for path in sys.argv[2:]:
    probabilities, index, *familiarity = session.run(None, {"images": batch(path)})
    known = not familiarity or familiarity[0][0] >= unknown_at
    print(path, labels[index[0]] if known else "unknown", f"{probabilities.max():.4f}", sep="\t")
