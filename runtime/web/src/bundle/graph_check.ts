/**
 * Refuses an ONNX graph that does more than compute, before ONNX Runtime sees it.
 *
 * This walks the protobuf wire format of a ModelProto (field numbers are those of onnx.proto): fields that docs/bundle-format.md
 * does not list are refused, names and numbers are passed over by their length, nothing is copied. It says nothing about types or
 * shapes: that is ONNX Runtime's part.
 */

import { BundleError } from "../errors.js";
import { quoted } from "../words.js";

const OPERATORS = new Set(
  [
    "Abs Add Ceil Clip Div Erf Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sqrt Sub Sum",
    "Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh",
    "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor",
    "Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid Softmax",
    "Softplus Softsign Swish ThresholdedRelu",
    "Attention AveragePool BatchNormalization Conv ConvTranspose GRU Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool",
    "GroupNormalization InstanceNormalization LRN LSTM LayerNormalization LpNormalization LpPool MatMul MaxPool",
    "MeanVarianceNormalization RMSNormalization RNN RotaryEmbedding",
    "ArgMax ArgMin CumSum Einsum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd",
    "ReduceSum ReduceSumSquare TopK",
    "Cast CastLike CenterCropPad Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather",
    "GatherElements GatherND GridSample Identity NonZero OneHot Pad Range Reshape Resize ReverseSequence ScatterElements",
    "ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze",
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul QuantizeLinear",
    "If Loop",
  ].flatMap((names) => names.split(" ")),
);
const DOMAINS = new Set(["", "ai.onnx"]);
const MAX_DEPTH = 16;
const MAX_FIELDS = 2_000_000;

const [VARINT, BYTES, FIXED32] = [0, 2, 5] as const; // wire types; no permitted field is a group or, unpacked, 8 bytes wide
const EXTERNAL = "keeps a tensor in another file (external data), and a bundle is one file";
const METADATA = "carries metadata (metadata_props), which a runtime may obey and the exporter strips";
const FUNCTIONS = "has functions of its own, and a bundle's graphs use listed operators only";

/** A message of onnx.proto, by field numbers: those looked into, those passed over, and numbers that stand alone. */
interface Message {
  readonly name: string;
  readonly watched: ReadonlySet<number>;
  readonly allowed: ReadonlySet<number>;
  readonly faults: Readonly<Record<number, string>>;
}

interface Numbers {
  readonly look?: readonly number[];
  readonly skip?: readonly number[];
  readonly integers?: readonly number[];
  readonly floats?: readonly number[];
  readonly faults?: Readonly<Record<number, string>>;
}

function message(name: string, { look = [], skip = [], integers = [], floats = [], faults = {} }: Numbers): Message {
  const tags = (numbers: readonly number[], wire: number): number[] => numbers.map((number) => (number << 3) | wire);
  const watched = tags(look, BYTES);
  const passed = [...tags(skip, BYTES), ...tags(integers, VARINT), ...tags(floats, FIXED32)];
  return { name, watched: new Set(watched), allowed: new Set([...watched, ...passed]), faults };
}

const MODEL = message("model", {
  look: [7, 8], // graph, opset_import
  skip: [2, 3, 4, 6], // producer_name, producer_version, domain, doc_string
  integers: [1, 5], // ir_version, model_version
  faults: { 14: METADATA, 20: "carries training information, and a bundle's graphs only infer", 25: FUNCTIONS },
});
const OPSET = message("opset import", { look: [1], integers: [2] }); // domain; version
const GRAPH = message("graph", {
  look: [1, 5, 15], // node, initializer, sparse_initializer
  skip: [2, 10, 11, 12, 13, 14], // name, doc_string, input, output, value_info, quantization_annotation
  faults: { 16: METADATA },
});
const NODE = message("node", {
  look: [4, 5, 7], // op_type, attribute, domain
  skip: [1, 2, 3, 6], // input, output, name, doc_string
  faults: { 8: FUNCTIONS, 9: METADATA },
});
const ATTRIBUTE = message("attribute", {
  look: [5, 6, 10, 11, 22, 23], // t, g, tensors, graphs, sparse_tensor, sparse_tensors
  skip: [1, 4, 7, 8, 9, 13], // name, s, floats, ints, strings, doc_string
  integers: [3, 8, 20], // i, ints, type
  floats: [2, 7], // f, floats
});
const TENSOR = message("tensor", {
  skip: [1, 4, 5, 7, 8, 9, 10, 11, 12], // dims, the typed data, name, raw_data, doc_string
  integers: [1, 2, 5, 7, 11], // dims, data_type, int32_data, int64_data, uint64_data
  floats: [4], // float_data
  faults: { 13: EXTERNAL, 14: EXTERNAL, 16: METADATA },
});
const SPARSE_TENSOR = message("sparse tensor", { look: [1, 2], skip: [3], integers: [3] }); // values, indices; dims

/** Checks the bytes of an ONNX model, which messages call `name`, in time linear in its fields. Throws BundleError. */
export function checkGraph(data: Uint8Array, name: string): void {
  // ONNX Runtime takes bytes with this mark for its own format, whatever else they are.
  if (text(data, 4, 8) === "ORTM") {
    throw new BundleError(`${name} is in ONNX Runtime's own format, and a bundle holds ONNX.`);
  }
  new Walk(data, name).model();
}

/** A watched field: its number, and where its bytes begin and end. */
type Field = readonly [number: number, start: number, end: number];

/** One pass over the bytes; `left` is how many fields it may still meet. */
class Walk {
  #left = MAX_FIELDS;
  #position = 0;

  constructor(
    private readonly data: Uint8Array,
    private readonly name: string,
  ) {}

  model(): void {
    let [graphs, opsets] = [0, 0];
    for (const [number, start, end] of this.#fields(0, this.data.length, MODEL)) {
      if (number === 7) {
        graphs++;
        this.#graph(start, end, 0);
      } else {
        opsets++;
        for (const [, first, last] of this.#fields(start, end, OPSET)) this.#domain(first, last);
      }
    }
    // Of several graphs protobuf makes one, merged; nothing writes that.
    if (graphs !== 1 || opsets === 0) this.#fail("is not an ONNX model with one graph and an operator set");
  }

  #graph(start: number, end: number, depth: number): void {
    if (depth > MAX_DEPTH) this.#fail(`has subgraphs nested deeper than ${MAX_DEPTH}`);
    for (const [number, first, last] of this.#fields(start, end, GRAPH)) {
      if (number === 1) this.#node(first, last, depth);
      else if (number === 5) this.#fields(first, last, TENSOR);
      else this.#sparseTensor(first, last);
    }
  }

  #node(start: number, end: number, depth: number): void {
    let hasOperator = false;
    for (const [number, first, last] of this.#fields(start, end, NODE)) {
      if (number === 4) {
        const operator = text(this.data, first, last);
        if (!OPERATORS.has(operator)) this.#fail(`uses the operator ${quoted(operator)}, which a bundle's graphs may not`);
        hasOperator = true;
      } else if (number === 7) this.#domain(first, last);
      else this.#attribute(first, last, depth);
    }
    if (!hasOperator) this.#fail("has a node without an operator");
  }

  #attribute(start: number, end: number, depth: number): void {
    for (const [number, first, last] of this.#fields(start, end, ATTRIBUTE)) {
      if (number === 6 || number === 11) this.#graph(first, last, depth + 1);
      else if (number === 22 || number === 23) this.#sparseTensor(first, last);
      else this.#fields(first, last, TENSOR);
    }
  }

  #sparseTensor(start: number, end: number): void {
    for (const [, first, last] of this.#fields(start, end, SPARSE_TENSOR)) this.#fields(first, last, TENSOR);
  }

  #domain(start: number, end: number): void {
    const domain = text(this.data, start, end);
    if (!DOMAINS.has(domain)) {
      this.#fail(`uses the operator domain ${quoted(domain)}, and a bundle's graphs the standard one only`);
    }
  }

  /** The watched fields in start..end; refuses those that are not allowed. */
  #fields(start: number, end: number, of: Message): Field[] {
    const found: Field[] = [];
    this.#position = start;
    while (this.#position < end) {
      if (--this.#left < 0) this.#fail(`has more than ${MAX_FIELDS} protobuf fields`);
      const tag = this.#varint(end);
      if (!of.allowed.has(tag)) this.#refuseUnlessDefault(tag, end, of);
      else if (tag % 8 === FIXED32) this.#position += 4;
      else {
        const value = this.#varint(end);
        if (tag % 8 === BYTES) {
          const first = this.#position;
          this.#position += value;
          if (of.watched.has(tag)) found.push([tag >> 3, first, this.#position]);
        }
      }
    }
    if (this.#position !== end) this.#fail("is malformed");
    return found;
  }

  /** The integer of at most ten bytes at the position, which moves behind it. */
  #varint(end: number): number {
    let [value, scale] = [0, 1];
    for (const last = Math.min(this.#position + 10, end); this.#position < last; scale *= 128) {
      const byte = this.data[this.#position++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return this.#fail("is malformed");
  }

  /** Fails, except that a tensor may say that its data is where it always is (data_location DEFAULT). */
  #refuseUnlessDefault(tag: number, end: number, of: Message): void {
    if (of === TENSOR && tag === ((14 << 3) | VARINT) && this.#varint(end) === 0) return;
    const number = Math.floor(tag / 8);
    this.#fail(of.faults[number] ?? `has the unknown ${of.name} field ${number}`);
  }

  #fail(fault: string): never {
    throw new BundleError(`${this.name} ${fault}.`);
  }
}

function text(data: Uint8Array, start: number, end: number): string {
  return new TextDecoder("latin1").decode(data.subarray(start, Math.min(end, start + 4096)));
}
