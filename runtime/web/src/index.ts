/** edge-adapt in the browser and in Node: the same verbs, on the same bundles, as in Python. */

export type { ReadingErrors } from "./bundle/classifier_json.js";
export type { Edit, History, SupportImage } from "./bundle/history_json.js";
export type { Manifest } from "./bundle/manifest.js";
export type { Finding } from "./classifier/check.js";
export { Classifier, type ClassifyOptions } from "./classifier/classifier.js";
export type { Estimate } from "./classifier/estimate.js";
export type { Prediction } from "./classifier/prediction.js";
export { OTHER } from "./classifier/support.js";
export { BundleError, DataError, EdgeAdaptError, ImageError } from "./errors.js";
export type { EmbeddedImage, OnProgress } from "./graphs.js";
export { decode, type Decodable } from "./images/decoding.js";
export type { Pixels } from "./images/images.js";
export { type AdaptOptions, load, loadClassifier, loadModel, type LoadOptions, MetaModel } from "./model.js";
export { type Measurement, Regressor } from "./regressor/regressor.js";
export type { GoldenErrors } from "./self_check.js";
export type { OnnxRuntime } from "./sessions.js";
export { sha256 } from "./sha256.js";
