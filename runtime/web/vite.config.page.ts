/** Builds the page to the folder that travels with the Python package; `edge-adapt web` makes sites of it. */

import { defineConfig } from "vite";

/** ONNX Runtime is a module of its own beside the page, which `edge-adapt web` puts there. */
const runtime = { external: ["#onnxruntime"], paths: { "#onnxruntime": "./ort/ort.wasm.min.mjs" } };

const names = { entryFileNames: "[name].js", chunkFileNames: "[name].js", assetFileNames: "[name][extname]" };

export default defineConfig({
  root: "page",
  base: "./",
  build: {
    outDir: "../../../edge_adapt/web/page",
    emptyOutDir: true,
    target: "safari16.4",
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { main: "page/index.html", sw: "page/service_worker.ts" },
      output: names,
    },
  },
  worker: {
    format: "es",
    rolldownOptions: { external: runtime.external, output: { ...names, paths: runtime.paths } },
  },
});
