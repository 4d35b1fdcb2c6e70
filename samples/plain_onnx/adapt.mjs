// Adapt and classify with the three graphs of a bundle: what edge-adapt does, in Node, with nothing but ONNX Runtime.
//
//     npm install && node adapt.mjs model.edge support/cat/1.ppm support/cat/2.ppm support/dog/1.ppm -- new.ppm
//
// A picture to learn from lies in a folder named as its class.
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";
import { InferenceSession, Tensor } from "onnxruntime-node";
import { batch } from "./pixels.mjs";

/** The entries of a bundle: a zip whose entries are stored, as docs/bundle-format.md has it. */
function entries(path) {
  const data = readFileSync(path);
  const end = data.lastIndexOf("PK\x05\x06", undefined, "latin1");
  const found = {};
  let at = data.readUInt32LE(end + 16);
  for (let left = data.readUInt16LE(end + 10); left > 0; left--) {
    const [size, name, extra, comment] = [data.readUInt32LE(at + 24), ...[28, 30, 32].map((field) => data.readUInt16LE(at + field))];
    const local = data.readUInt32LE(at + 42);
    const start = local + 30 + data.readUInt16LE(local + 26) + data.readUInt16LE(local + 28);
    found[data.toString("utf8", at + 46, at + 46 + name)] = data.subarray(start, start + size);
    at += 46 + name + extra + comment;
  }
  return found;
}

const [path, ...rest] = process.argv.slice(2);
const [support, queries] = [rest.slice(0, rest.indexOf("--")), rest.slice(rest.indexOf("--") + 1)];
const bundle = entries(path);
const manifest = JSON.parse(bundle["manifest.json"].toString("utf8"));
const verbs = ["embed", "adapt", "predict"].map((verb) => InferenceSession.create(bundle[`${verb}.onnx`]));
const [embed, adapt, predict] = await Promise.all(verbs);

const labels = [...new Set(support.map((file) => basename(dirname(file))))].sort();
const features = new Float32Array(support.length * manifest.feature_size);
for (const [shot, file] of support.entries()) {
  features.set((await embed.run({ images: batch(file) })).features.data, shot * manifest.feature_size);
}
const whole = (number) => new Tensor("int64", [BigInt(number)], []);
const targets = support.map((file) => BigInt(labels.indexOf(basename(dirname(file)))));
const adapted = await adapt.run({
  features: new Tensor("float32", features, [support.length, manifest.feature_size]),
  targets: new Tensor("int64", targets, [support.length]),
  n_way: whole(labels.length),
  steps: whole(manifest.default_steps),
});
const state = Object.fromEntries(manifest.head_state.map((name) => [name, adapted[name]]));
for (const file of queries) {
  const { logits } = await predict.run({ ...(await embed.run({ images: batch(file) })), ...state });
  console.log(`${file}\t${labels[logits.data.indexOf(Math.max(...logits.data))]}`);
}
