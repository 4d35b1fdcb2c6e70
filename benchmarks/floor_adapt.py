"""The least that adapting a bundle to images can take in Python; `whole_process.py` runs it beside `edge-adapt adapt`.

    python benchmarks/floor_adapt.py MODEL.edge PHOTOS

It checks nothing, estimates nothing and writes nothing.
"""

import hashlib  # noqa: F401  (a part of the floor: every runtime that checks what it reads imports it)
import json
import sys
import zipfile
from pathlib import Path

import click
import numpy as np
import onnxruntime
from PIL import Image

bundle, photos = sys.argv[1:]
with zipfile.ZipFile(bundle) as entries:
    manifest = json.loads(entries.read("manifest.json"))
    embed, adapt, predict = (
        onnxruntime.InferenceSession(entries.read(graph), providers=["CPUExecutionProvider"])
        for graph in ("embed.onnx", "adapt.onnx", "predict.onnx")
    )
if manifest.get("support_views"):
    raise SystemExit("This script looks at an image once, and the bundle asks for more; give one without views.")
height, width, channels = (manifest["preprocessing"][side] for side in ("height", "width", "channels"))
files = sorted(Path(photos).glob("*/*"))
classes = sorted({file.parent.name for file in files})
mode = "L" if channels == 1 else "RGB"
decoded = [Image.open(file).convert(mode).resize((width, height), Image.Resampling.BILINEAR) for file in files]
images = np.stack([np.asarray(image).reshape(height, width, channels) for image in decoded])
(features,) = embed.run(None, {"images": images})
targets = np.array([classes.index(file.parent.name) for file in files])
sizes = {"n_way": np.array(len(classes)), "steps": np.array(manifest["default_steps"])}
*head, losses = adapt.run(None, {"features": features, "targets": targets, **sizes})
(logits,) = predict.run(None, {"features": features, **dict(zip(manifest["head_state"], head, strict=True))})
click.echo(
    f"loss {losses[0]:.3f} to {losses[-1]:.3f}, {(logits.argmax(axis=1) == targets).mean():.0%} of the support set right"
)
