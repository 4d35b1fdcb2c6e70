"""The inner loop on all layers of conv4 as two ONNX graphs, `adapt` and `predict`, of ordinary inference operators.

`edge_adapt.networks.inner_loop` defines the loop and takes its gradients from PyTorch; here they are written out, layer by layer,
inside an ONNX `Loop` whose trip count is an input. The features are the normalized pixels, and the head state is every adapted
tensor.

The gradient of a block, a convolution, normalization by groups of channels, the maxima of 2x2 positions and ReLU:

- A maximum may be taken before a scale, as the maximum of what is normalized times the scale's sign. So scale, shift and ReLU,
  and their gradients, are computed at the positions that have a maximum, a quarter.
- With x the n normalized numbers of a group, r their 1 / deviation and g the gradient of x, that of the maps is
  r (g - mean(g) - x mean(g x)). g is zero but at the maxima: two means over those, a line in x, and g added at its places.
- The gradient of a convolution's weights is the convolution of its input with the gradient of its output, where channels stand
  for images and images for channels; that of its input is the transposed convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper, parser

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish

BLOCKS = 4

HEAD = ("head_weight", "head_bias")


@dataclass(frozen=True, eq=False)
class AllLayersParameters:
    """What meta-training learned of a conv4, its head and the rates of its inner loop; float32 throughout.

    Attributes:
        image: of an image, [C, H, W].
        backbone: the tensors to start from, each by its name in the head state: `backbone_convolutions_0_weight` [K, C, 3, 3],
            `backbone_normalizations_0_weight` and `backbone_normalizations_0_bias` [K], and so on to 3.
        rates: of each tensor of the backbone and of `HEAD`, [S, ...]: of each step one number, or one for each of the tensor's;
            the last is of all further steps. Those of the head are in units of N over the mean squared norm of the features.
        regions: the features are the last map [K, P] times this [P, R], at length K R.
        groups: of channels that are normalized together.
        epsilon: added to their variance.
        scale: of the prototype initialization; None starts from zero.
        bias_rate: what the bias adds to a squared norm of features.
    """

    image: tuple[int, int, int]
    backbone: Mapping[str, NDArray[np.float32]]
    rates: Mapping[str, NDArray[np.float32]]
    regions: NDArray[np.float32]
    groups: int
    epsilon: float
    scale: float | None
    bias_rate: float


_BLOCK = """
    {p}maps_{b} = Conv <pads = [1, 1, 1, 1]> ({x}, {t}backbone_convolutions_{b}_weight)
    {p}groups_{b} = Reshape({p}maps_{b}, by_group)
    {p}standard_{b}, {p}mean_{b}, {p}inverse_{b} = LayerNormalization <epsilon = {epsilon}> ({p}groups_{b}, ones_{b})
    {p}normalized_{b} = Reshape({p}standard_{b}, map_{b})
    {p}scale_{b} = Unsqueeze({t}backbone_normalizations_{b}_weight, over_positions)
    {p}shift_{b} = Unsqueeze({t}backbone_normalizations_{b}_bias, over_positions)
    {p}is_negative_{b} = Less({p}scale_{b}, nought)
    {p}sign_{b} = Where({p}is_negative_{b}, minus, plus)
    {p}turned_{b} = Mul({p}normalized_{b}, {p}sign_{b})
    {p}largest_{b}, {p}places_{b} = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> ({p}turned_{b})
    {p}magnitude_{b} = Abs({p}scale_{b})
    {p}scaled_{b} = Mul({p}largest_{b}, {p}magnitude_{b})
    {p}shifted_{b} = Add({p}scaled_{b}, {p}shift_{b})
    {p}hidden_{b} = Relu({p}shifted_{b})
"""

_FEATURES = """
    {p}positions = Reshape({p}hidden_3, by_position)
    {p}means = MatMul({p}positions, regions)
    {p}embedded = Flatten({p}means)
"""

_BLOCK_BACK = """
    is_passed_{b} = Greater(shifted_{b}, nought)
    passed_{b} = Where(is_passed_{b}, of_hidden_{b}, nought)
    at_largest_{b} = Mul(largest_{b}, sign_{b})
    along_{b} = Mul(passed_{b}, at_largest_{b})
    sums_{b} = ReduceSum <keepdims = 0> (passed_{b}, rows_and_columns)
    sums_along_{b} = ReduceSum <keepdims = 0> (along_{b}, rows_and_columns)
    of_backbone_normalizations_{b}_bias = ReduceSum <keepdims = 0> (sums_{b}, over_images)
    of_backbone_normalizations_{b}_weight = ReduceSum <keepdims = 0> (sums_along_{b}, over_images)
    scaled_sums_{b} = Mul(sums_{b}, before_backbone_normalizations_{b}_weight)
    scaled_along_{b} = Mul(sums_along_{b}, before_backbone_normalizations_{b}_weight)
    grouped_sums_{b} = Reshape(scaled_sums_{b}, by_group)
    grouped_along_{b} = Reshape(scaled_along_{b}, by_group)
    mean_sum_{b} = ReduceMean(grouped_sums_{b}, last)
    mean_along_{b} = ReduceMean(grouped_along_{b}, last)
    unit_{b} = Mul(inverse_{b}, minus_per_position_{b})
    offset_{b} = Mul(mean_sum_{b}, unit_{b})
    slope_{b} = Mul(mean_along_{b}, unit_{b})
    sloped_{b} = Mul(standard_{b}, slope_{b})
    line_{b} = Add(sloped_{b}, offset_{b})
    flat_line_{b} = Reshape(line_{b}, flat)
    of_normalized_{b} = Mul(passed_{b}, scale_{b})
    of_groups_{b} = Reshape(of_normalized_{b}, by_group)
    of_largest_{b} = Mul(of_groups_{b}, inverse_{b})
    flat_largest_{b} = Reshape(of_largest_{b}, flat)
    flat_places_{b} = Reshape(places_{b}, flat)
    flat_maps_{b} = ScatterElements <reduction = "add"> (flat_line_{b}, flat_places_{b}, flat_largest_{b})
    of_maps_{b} = Reshape(flat_maps_{b}, maps_of_{b})
    turned_input_{b} = Transpose <perm = [1, 0, 2, 3]> ({x})
    turned_maps_{b} = Transpose <perm = [1, 0, 2, 3]> (of_maps_{b})
    turned_weight_{b} = Conv <pads = [1, 1, 1, 1]> (turned_input_{b}, turned_maps_{b})
    of_backbone_convolutions_{b}_weight = Transpose <perm = [1, 0, 2, 3]> (turned_weight_{b})
"""

_INPUT_BACK = """
    of_hidden_{below} = ConvTranspose <pads = [1, 1, 1, 1]> (of_maps_{b}, before_backbone_convolutions_{b}_weight)
"""

_ADAPT = """
<ir_version: 8, opset_import: ["" : 18]>
adapt (float[M, {D}] features, int64[M] targets, int64 n_way, int64 steps) => ({outputs}, float[S] losses)
{{
    own_class = Unsqueeze(targets, last)
    classes = Range(first, n_way, step_by)
    is_own_class = Equal(own_class, classes)
    one_hot = Cast <to = 1> (is_own_class)
    shots = ReduceSum <keepdims = 0> (one_hot, over_images)
    own_shots = Gather(shots, own_class)
    ways = CastLike(n_way, shots)
    of_class = Reciprocal(own_shots)
    share = Div(of_class, ways)
    shared = Mul(one_hot, share)
    images = Reshape(features, image)
    {start}
    parts = Gemm <transA = 1> (shared, start_embedded)
    prototypes = Mul(parts, ways)
    start_head_weight = Mul(prototypes, double_scale)
    squared_norms = ReduceSumSquare <keepdims = 0> (prototypes, last)
    start_head_bias = Mul(squared_norms, minus_scale)
    squares = ReduceSumSquare(start_embedded, last)
    energies = Add(squares, bias_rate)
    shared_energies = Mul(energies, share)
    energy = ReduceSum <keepdims = 0> (shared_energies)
    unit_of_head = Div(ways, energy)
    true = Constant <value = bool {{1}}> ()
    {names}, losses = Loop (steps, true, {starts}) <body = step (int64 number, bool continue, {befores})
        => (bool continue, {afters}, float loss) {{
        number_of_rates = Min(number, last_step)
        {forward}
        logits = Gemm <transB = 1> (embedded, before_head_weight, before_head_bias)
        log_probabilities = LogSoftmax(logits)
        probabilities = Exp(log_probabilities)
        excess = Sub(probabilities, one_hot)
        error = Mul(excess, share)
        own = Mul(shared, log_probabilities)
        gain = ReduceSum <keepdims = 0> (own)
        loss = Neg(gain)
        of_head_bias_in_units = ReduceSum <keepdims = 0> (error, over_images)
        of_head_weight_in_units = Gemm <transA = 1> (error, embedded)
        of_head_bias = Mul(of_head_bias_in_units, unit_of_head)
        of_head_weight = Mul(of_head_weight_in_units, unit_of_head)
        of_embedded = MatMul(error, before_head_weight)
        of_means = Reshape(of_embedded, by_region)
        of_positions = MatMul(of_means, regions_across)
        of_hidden_3 = Reshape(of_positions, hidden)
        {backward}
        {moves}
    }}>
}}
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, {inputs}) => (float[B, N] logits)
{{
    images = Reshape(features, image)
    {forward}
    logits = Gemm <transB = 1> (embedded, head_weight, head_bias)
}}
"""


def all_layers_graphs(parameters: AllLayersParameters) -> HeadGraphs:
    """The inner loop as graphs.

    Args:
        parameters: the learned numbers, which become constants of `adapt`.
    """
    size, epsilon = int(np.prod(parameters.image)), parameters.epsilon
    types = {name: f"float[{', '.join(map(str, array.shape))}]" for name, array in parameters.backbone.items()}
    width = len(parameters.backbone[f"backbone_normalizations_{BLOCKS - 1}_weight"])
    types |= {"head_weight": f"float[N, {width * parameters.regions.shape[1]}]", "head_bias": "float[N]"}
    adapt = _ADAPT.format(
        D=size,
        outputs=_declared(types),
        names=", ".join(types),
        starts=", ".join(f"start_{name}" for name in types),
        befores=_declared(types, "before_"),
        afters=_declared(types, "after_"),
        start=_forward("start_", "start_", epsilon),
        forward=_forward("before_", "", epsilon),
        backward="".join(_backward()),
        moves="".join(_move(name, len(parameters.rates[name])) for name in types),
    )
    predict = _PREDICT.format(D=size, inputs=_declared(types), forward=_forward("", "", epsilon))
    constants = _constants(parameters, width)
    return HeadGraphs(_finished(adapt, constants), _finished(predict, constants), tuple(types))


def _declared(types: Mapping[str, str], prefix: str = "") -> str:
    return ", ".join(f"{declared} {prefix}{name}" for name, declared in types.items())


def _forward(tensors: str, values: str, epsilon: float) -> str:
    """From `images` to `embedded`, with tensors of one prefix, to values of another."""
    inputs = ("images", *(f"{values}hidden_{block}" for block in range(BLOCKS - 1)))
    blocks = (_BLOCK.format(b=block, x=x, p=values, t=tensors, epsilon=epsilon) for block, x in enumerate(inputs))
    return "".join((*blocks, _FEATURES.format(p=values)))


def _backward() -> Iterator[str]:
    """From `of_hidden_3` to the gradients of all tensors of the backbone."""
    for block in reversed(range(BLOCKS)):
        yield _BLOCK_BACK.format(b=block, x=f"hidden_{block - 1}" if block else "images")
        if block:
            yield _INPUT_BACK.format(b=block, below=block - 1)


def _move(name: str, steps: int) -> str:
    """A step of a tensor, which has rates for so many."""
    gather = f"rate_{name} = Gather(rates_{name}, number_of_rates)" if steps > 1 else ""
    return f"""
        {gather}
        way_{name} = Mul(of_{name}, {"rate" if steps > 1 else "rates"}_{name})
        after_{name} = Sub(before_{name}, way_{name})
    """


def _constants(parameters: AllLayersParameters, width: int) -> dict[str, NDArray[Any]]:
    """By name, of both graphs."""
    groups, scale = parameters.groups, np.float32(parameters.scale or 0)
    channels, height, width_of_image = parameters.image
    constants: dict[str, NDArray[Any]] = {
        "last": np.array([-1], np.int64),
        "first": np.array(0, np.int64),
        "step_by": np.array(1, np.int64),
        "over_images": np.array([0], np.int64),
        "over_positions": np.array([1, 2], np.int64),
        "rows_and_columns": np.array([2, 3], np.int64),
        "flat": np.array([-1], np.int64),
        "last_step": np.array(max(map(len, parameters.rates.values())) - 1, np.int64),
        "image": np.array([-1, channels, height, width_of_image], np.int64),
        "by_group": np.array([0, groups, -1], np.int64),
        "by_position": np.array([0, width, -1], np.int64),
        "by_region": np.array([0, width, parameters.regions.shape[1]], np.int64),
        "hidden": np.array([0, width, height >> BLOCKS, width_of_image >> BLOCKS], np.int64),
        "regions": parameters.regions,
        "regions_across": np.ascontiguousarray(parameters.regions.T),
        "nought": np.array(0, np.float32),
        "plus": np.array(1, np.float32),
        "minus": np.array(-1, np.float32),
        "double_scale": np.array(2 * scale),
        "minus_scale": np.array(-scale),
        "bias_rate": np.array(parameters.bias_rate, np.float32),
    }
    for block in range(BLOCKS):
        rows, columns = height >> block, width_of_image >> block
        constants[f"ones_{block}"] = np.ones(width // groups * rows * columns, np.float32)
        constants[f"map_{block}"] = np.array([0, width, rows, columns], np.int64)
        constants[f"maps_of_{block}"] = np.array([-1, width, rows, columns], np.int64)
        constants[f"minus_per_position_{block}"] = np.array(-1 / (rows * columns), np.float32)
    constants |= {f"start_{name}": array for name, array in parameters.backbone.items()}
    for name, rates in parameters.rates.items():
        constants[f"rates_{name}"] = rates if len(rates) > 1 else rates[0]
    return constants


def _finished(text: str, constants: Mapping[str, NDArray[Any]]) -> bytes:
    """The graph of a text, with those constants that it uses."""
    model: ModelProto = parser.parse_model(text)
    nodes = list(model.graph.node)
    nodes += [inner for node in nodes for attribute in node.attribute for inner in attribute.g.node]
    used = {name for node in nodes for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items() if name in used
    )
    return finish(model)
