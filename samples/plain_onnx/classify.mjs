// Classify with a baked classifier and nothing but ONNX Runtime.
//
//     edge-adapt bake mine.edge -o mine.onnx --metadata mine.json
//     npm install && node classify.mjs mine.onnx mine.json photo.ppm
import { readFileSync } from "node:fs";
import { InferenceSession } from "onnxruntime-node";
import { batch } from "./pixels.mjs";

const [model, metadata, ...pictures] = process.argv.slice(2);
const { labels, unknown_at } = JSON.parse(readFileSync(metadata, "utf8"));
const session = await InferenceSession.create(model);
for (const path of pictures) {
  const { probabilities, index, familiarity } = await session.run({ images: batch(path) });
  const best = Number(index.data[0]);
  const known = !familiarity || familiarity.data[0] >= unknown_at;
  console.log(`${path}\t${known ? labels[best] : "unknown"}\t${probabilities.data[best].toFixed(4)}`);
}
