"""The least that classifying one image with a bundle can take in Python; `whole_process.py` runs it beside `edge-adapt classify`.

    python benchmarks/floor_classify.py MINE.edge IMAGE

It checks nothing.
"""

import hashlib  # noqa: F401  (a part of the floor: every runtime that checks what it reads imports it)
import io
import json
import sys
import zipfile

import click
import numpy as np
import onnxruntime
from PIL import Image

bundle, image = sys.argv[1:]
with zipfile.ZipFile(bundle) as entries:
    manifest = json.loads(entries.read("manifest.json"))
    labels = json.loads(entries.read("classifier.json"))["labels"]
    embed, predict = (
        onnxruntime.InferenceSession(entries.read(graph), providers=["CPUExecutionProvider"])
        for graph in ("embed.onnx", "predict.onnx")
    )
    head = {name: np.load(io.BytesIO(entries.read(f"head/{name}.npy"))) for name in manifest["head_state"]}
shape = tuple(manifest["preprocessing"][side] for side in ("height", "width", "channels"))
decoded = (
    Image.open(image).convert("L" if shape[2] == 1 else "RGB").resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
)
(features,) = embed.run(None, {"images": np.asarray(decoded).reshape(1, *shape)})
(logits,) = predict.run(None, {"features": features, **head})
probabilities = np.exp(logits[0] - logits.max())
best = int(probabilities.argmax())
click.echo(f"{image}\t{labels[best]}\t{probabilities[best] / probabilities.sum():.1%}")
