// How long the library takes with ONNX Runtime Web on one thread: node speed.mjs MODEL.edge. Milliseconds of a core, the median.
import { readFileSync } from "node:fs";
import { loadModel } from "../dist/index.js";

const onnxruntime = await import("onnxruntime-web/wasm");
const model = await loadModel(new Uint8Array(readFileSync(process.argv[2])), { onnxruntime });

/** Noise of the size of a frame of a camera. */
function frame(seed, width = 640, height = 480) {
  const data = new Uint8ClampedArray(4 * width * height);
  for (let at = 0, state = seed; at < data.length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    data[at] = at % 4 === 3 ? 255 : state >> 16;
  }
  return { data, width, height };
}

async function median(name, repeats, does) {
  const taken = [];
  for (let run = 0; run <= repeats; run++) {
    const before = process.cpuUsage();
    await does();
    const { user, system } = process.cpuUsage(before);
    if (run > 0) taken.push((user + system) / 1000);
  }
  console.log(`${name}\t${taken.sort((one, other) => one - other)[repeats >> 1].toFixed(1)}`);
}

const images = Object.fromEntries(["a", "b", "c", "d", "e"].map((label, way) => [label, [1, 2, 3, 4, 5].map((shot) => frame(10 * way + shot))]));
const shots = {};
for (const [label, of] of Object.entries(images)) shots[label] = await Promise.all(of.map((image) => model.embed(image, { asShot: true })));
await median("adapt 5 x 5 features", 20, () => model.adaptEmbedded(shots));
await median("adapt 5 x 5 photos", 3, () => model.adapt(images));
const mine = await model.adapt(images);
await median("know itself (leave one out)", 3, async () => (await model.adaptEmbedded(shots)).save());
await median("classify a frame", 15, () => mine.classify(frame(99)));
await median("decoded frame to pixels and features", 15, () => model.embed(frame(99)));
