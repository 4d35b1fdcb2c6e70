import { expect, test } from "vitest";
import { Bundle } from "../src/bundle/bundle.js";
import { checkGraph } from "../src/bundle/graph_check.js";
import { golden } from "./goldens.js";

/** A length-delimited protobuf field. */
function chunk(field: number, ...parts: readonly (string | Uint8Array)[]): Uint8Array {
  const payload = parts.flatMap((part) => [...(typeof part === "string" ? new TextEncoder().encode(part) : part)]);
  return Uint8Array.of(...varint((field << 3) | 2), ...varint(payload.length), ...payload);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)];
}

function number(field: number, value: number): Uint8Array {
  return Uint8Array.of(...varint(field << 3), ...varint(value));
}

const OPSET = chunk(8, number(2, 18));

function model(...graph: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.of(...number(1, 8), ...chunk(7, ...graph), ...OPSET);
}

function node(operator: string, ...more: readonly Uint8Array[]): Uint8Array {
  return chunk(1, chunk(1, "x"), chunk(2, "y"), chunk(4, operator), ...more);
}

test("the graphs of a bundle pass", () => {
  const bundle = Bundle.open(golden("mine.edge"), "mine");
  for (const name of ["embed.onnx", "adapt.onnx", "predict.onnx"] as const) expect(bundle.graph(name).length).toBeGreaterThan(0);
  checkGraph(model(node("Identity"), chunk(5, number(14, 0))), "it");
});

const nested = (depth: number): Uint8Array => (depth === 0 ? node("Add") : node("If", chunk(5, chunk(6, nested(depth - 1)))));

test.each([
  ["an operator", model(node("Print")), /uses the operator 'Print'/],
  ["a domain", model(node("Add", chunk(7, "com.microsoft"))), /uses the operator domain 'com.microsoft'/],
  ["no operator", model(chunk(1, chunk(1, "x"))), /a node without an operator/],
  ["another file", model(chunk(5, chunk(13, "a"))), /keeps a tensor in another file/],
  ["another place", model(chunk(5, number(14, 1))), /keeps a tensor in another file/],
  ["another file in a subgraph", model(node("If", chunk(5, chunk(6, chunk(5, chunk(13, "a")))))), /keeps a tensor in another file/],
  ["metadata", Uint8Array.of(...model(node("Add")), ...chunk(14, "a")), /carries metadata/],
  ["functions", Uint8Array.of(...model(node("Add")), ...chunk(25, "a")), /has functions of its own/],
  ["two graphs", Uint8Array.of(...model(node("Add")), ...chunk(7, node("Add"))), /one graph/],
  ["depth", model(nested(20)), /nested deeper than 16/],
  ["its own format", new TextEncoder().encode("    ORTM"), /ONNX Runtime's own format/],
  ["damage", model(node("Add")).subarray(0, 12), /is malformed/],
  ["an unknown field", model(chunk(99, "a")), /unknown graph field 99/],
])("%s is refused", (_, data, message) => {
  expect(() => checkGraph(data, "it")).toThrow(message);
});
