/** A model adapted to classes of yours: what it was adapted to, and what it says of an image. */

import type { Adaptation, SelfKnowledge } from "../bundle/classifier_json.js";
import { type History, NO_HISTORY, type SupportImage } from "../bundle/history_json.js";
import type { Manifest } from "../bundle/manifest.js";
import { stacked } from "../bundle/npy.js";
import { BundleError, DataError } from "../errors.js";
import type { EmbeddedImage, Graphs, OnProgress } from "../graphs.js";
import type { Pixels } from "../images/images.js";
import { plural, quoted } from "../words.js";
import { checkSupport, type Finding } from "./check.js";
import { type Estimate, estimate } from "./estimate.js";
import { recorded, redone, type Step, undone } from "./history.js";
import { type LeaveOneOut, leaveOneOut } from "./leave_one_out.js";
import { checkClasses, checkedSteps } from "./limits.js";
import { type Prediction, probabilities } from "./prediction.js";
import { familiarity, Likeness, UNKNOWN_AT } from "./rejection.js";
import { selfKnowledge } from "./self_knowledge.js";
import { NO_SHA256, oneLine, OTHER, SupportSet } from "./support.js";

/** How many images of the classes may be taken for unknown, as a share; 0: every image is known. */
export interface ClassifyOptions {
  readonly unknownAt?: number;
}

/** A classifier: `MetaModel.adapt` makes one, and `load` opens one that was saved. Each edit gives a new one. */
export class Classifier {
  readonly #graphs: Graphs;
  readonly #adaptation: Adaptation;
  readonly #isEstimated: boolean;
  readonly #support: SupportSet;
  #leftOut: Promise<LeaveOneOut> | null = null;
  #selfKnowledge: Promise<SelfKnowledge | null> | null = null;
  #likeness: Likeness | null = null;

  /** The edits that it has seen. */
  readonly history: History;

  private constructor(graphs: Graphs, adaptation: Adaptation, isEstimated: boolean, support: SupportSet, history: History) {
    this.#graphs = graphs;
    this.#adaptation = adaptation;
    this.#isEstimated = isEstimated;
    this.#support = support;
    this.history = history;
  }

  /** The classifier that a bundle holds. */
  static read(graphs: Graphs): Classifier {
    const adaptation = graphs.bundle.adaptation();
    return new Classifier(graphs, adaptation, true, SupportSet.read(adaptation), graphs.bundle.history());
  }

  /**
   * The classifier of a support set. It follows from the shots alone: neither their order nor what was learned before counts.
   *
   * @throws DataError where so many classes or images do not fit the model, or where the adaptation diverges.
   */
  static async adapt(graphs: Graphs, support: SupportSet, steps?: number, history: History = NO_HISTORY): Promise<Classifier> {
    checkClasses(graphs, classCounts(support));
    const count = await checkedSteps(graphs, steps);
    const { labels, shots, targets } = support;
    const { state, losses } = await graphs.adapt(support.features, targets, labels.length, count);
    for (const [name, array] of state) {
      if (array.dtype === "float32" && !array.data.every(Number.isFinite)) {
        throw new DataError(`the adaptation diverged ('${name}' is not finite after ${count} steps); take fewer steps.`);
      }
    }
    const indices = BigInt64Array.from(shots, (shot) => BigInt(shot.label));
    const adaptation: Adaptation = {
      labels,
      targets: [],
      shots,
      steps: count,
      losses: Array.from(losses),
      leaveOneOut: null,
      selfKnowledge: null,
      errors: null,
      headState: state,
      supportFeatures: stacked(support.images.map((image) => image.features), graphs.manifest.featureSize),
      supportTargets: { dtype: "int64", data: indices, shape: [indices.length] },
    };
    return new Classifier(graphs, adaptation, false, support, history);
  }

  /** What the bundle says about the model that was adapted. */
  get manifest(): Manifest {
    return this.#graphs.manifest;
  }

  /** The names of its classes, in the order of the logits. */
  get labels(): readonly string[] {
    return this.#adaptation.labels;
  }

  /** How many images each class has. */
  get counts(): ReadonlyMap<string, number> {
    return classCounts(this.#support);
  }

  /** What it was adapted to, by class; photos of no class, `OTHER`, are the last. */
  get images(): readonly SupportImage[] {
    return this.#support.images;
  }

  /** How many gradient steps it took. */
  get steps(): number {
    return this.#adaptation.steps;
  }

  /** The support loss before each step; none for a method without steps. */
  get losses(): readonly number[] {
    return this.#adaptation.losses;
  }

  /** The features of an image; as a shot, in all ways that the model looks at images to adapt to. Throws ImageError. */
  embed(image: Pixels, { asShot = false }: { readonly asShot?: boolean } = {}): Promise<EmbeddedImage> {
    return this.#graphs.embedImage(image, asShot);
  }

  /** Classify one image. Throws ImageError where it is none. */
  async classify(image: Pixels, options: ClassifyOptions = {}): Promise<Prediction> {
    return this.classifyEmbedded({ features: await this.#graphs.features(image) }, options);
  }

  /** `classify` on an image that is embedded already. */
  async classifyEmbedded({ features }: Pick<EmbeddedImage, "features">, { unknownAt = UNKNOWN_AT }: ClassifyOptions = {}): Promise<Prediction> {
    const [logits] = await this.#graphs.predict([features], this.#adaptation.headState);
    if (logits?.length !== this.labels.length || !logits.every(Number.isFinite)) {
      const { path } = this.#graphs.bundle;
      throw new BundleError(`${path}: predict.onnx gives no finite logits for ${this.labels.length} classes.`);
    }
    const known = await this.#known();
    const scores = probabilities(this.labels, logits, known?.temperature ?? 1);
    const [[label, confidence]] = scores as Iterable<[string, number]> as [[string, number]];
    if (!known || unknownAt === 0) return { label, confidence, scores, known: true, familiarity: null };
    const { features: shots, targets, others } = this.#support;
    this.#likeness ??= Likeness.of(shots, targets, known.ownLogit, others);
    const familiar = familiarity(this.#likeness.score(features, logits), known.score, known.scoreSpread);
    return { label, confidence, scores, known: familiar >= unknownAt, familiarity: familiar };
  }

  /**
   * With images of a class, old or new, or of no class (`OTHER`); one that the class has already is not taken twice.
   *
   * @throws ImageError where an image cannot be read.
   * @throws DataError where the class has all of them already, or the model does not take so many classes or images.
   */
  async add(label: string, images: readonly Pixels[], options: { readonly onProgress?: OnProgress } = {}): Promise<Classifier> {
    return this.addEmbedded(label, await this.#graphs.embedShots(images, options.onProgress));
  }

  /** `add` of images that are embedded already, as shots. */
  async addEmbedded(label: string, images: readonly EmbeddedImage[]): Promise<Classifier> {
    return this.#edited(`add ${label}: ${plural(images.length, "image")}`, this.#support.add(label, images));
  }

  /**
   * Without a class, or without those of its images that are named so, or whose SHA-256 begins so.
   *
   * @throws DataError where there is no such class or image, or fewer than two classes are left.
   */
  async remove(label: string, ...names: readonly string[]): Promise<Classifier> {
    return this.#edited(`remove ${[label, ...names].join(", ")}`, this.#support.remove(label, names));
  }

  /** With another name for a class. Throws DataError where there is no such class, or one of that name. */
  async rename(label: string, name: string): Promise<Classifier> {
    return this.#edited(`rename ${label} to ${name}`, this.#support.rename(label, name));
  }

  /** With the images of several classes in one. Throws DataError where one of them is not there, or too few are left. */
  async merge(labels: readonly string[], into: string): Promise<Classifier> {
    return this.#edited(`merge ${labels.join(", ")} into ${into}`, this.#support.merge(labels, into));
  }

  /**
   * Learn from a mistake.
   *
   * @param image what was classified wrong.
   * @param right its class, or `OTHER` for none: it becomes an image of that class, and of no other; or a class that it is `not`:
   *     it leaves that class if it is one of its images, and else becomes a photo of no class.
   * @throws DataError where it is an image of the class already.
   */
  async correct(image: Pixels, right: string | { readonly not: string }): Promise<Classifier> {
    return this.correctEmbedded(await this.embed(image, { asShot: true }), right);
  }

  /** `correct` of an image that is embedded already, as a shot. */
  async correctEmbedded(image: EmbeddedImage, right: string | { readonly not: string }): Promise<Classifier> {
    if (typeof right === "string") {
      return this.#edited(`correct ${image.name}: ${right}`, this.#support.correct(image, right));
    }
    const never = right.not;
    if (!this.labels.includes(never)) {
      throw new DataError(`there is no class ${quoted(never)}; there are ${this.labels.join(", ")}.`);
    }
    if (this.#support.has(image, never)) return this.remove(never, image.sha256);
    return this.#edited(`correct ${image.name}: not ${never}`, this.#support.correct(image, OTHER));
  }

  /** As it was before the last edit. Throws DataError where there is none. */
  async undo(): Promise<Classifier> {
    return this.#with(undone(this.history, this.#support));
  }

  /** As it was before `undo`. Throws DataError where nothing is undone. */
  async redo(): Promise<Classifier> {
    return this.#with(redone(this.history, this.#support));
  }

  /** To be handed on: without names and SHA-256s of images, and without history. It answers as before. */
  async strip(): Promise<Classifier> {
    const adaptation = await this.#estimated();
    const shots = adaptation.shots.map(({ label }) => ({ label, name: "", sha256: NO_SHA256 }));
    const stripped = { ...adaptation, shots };
    return new Classifier(this.#graphs, stripped, true, SupportSet.read(stripped), NO_HISTORY);
  }

  /** What in its support set will cost accuracy, the worst first. */
  check(): Promise<Finding[]> {
    return checkSupport(this.#graphs, this.#support, this.steps);
  }

  /** The accuracy to expect; null where no class has two shots. */
  async estimate(): Promise<Estimate | null> {
    return estimate(await this.leftOut(), this.counts);
  }

  /** What it says of its shots when they are left out. */
  leftOut(): Promise<LeaveOneOut> {
    const { features, targets: labels } = this.#support;
    const task = { features, labels, nWay: this.labels.length, steps: this.steps };
    this.#leftOut ??= leaveOneOut(this.#graphs, task);
    return this.#leftOut;
  }

  /** The bytes of its `.edge` file. */
  async save(): Promise<Uint8Array> {
    return this.#graphs.bundle.adapted(await this.#estimated(), this.history);
  }

  /** Its adaptation with what it knows of itself, which is estimated when it is first asked for. */
  async #estimated(): Promise<Adaptation> {
    if (this.#isEstimated) return this.#adaptation;
    return { ...this.#adaptation, leaveOneOut: (await this.leftOut()).accuracy, selfKnowledge: await this.#known() };
  }

  #known(): Promise<SelfKnowledge | null> {
    this.#selfKnowledge ??= this.#foundOut();
    return this.#selfKnowledge;
  }

  async #foundOut(): Promise<SelfKnowledge | null> {
    const { priors } = this.manifest;
    if (priors === null || this.#isEstimated) return this.#adaptation.selfKnowledge;
    const logits = await this.#graphs.predict(this.#support.features, this.#adaptation.headState);
    return selfKnowledge(this.#support, logits, await this.leftOut(), priors);
  }

  #edited(what: string, support: SupportSet): Promise<Classifier> {
    return this.#with({ history: recorded(this.history, oneLine(what), this.#support, support), support });
  }

  async #with({ history, support }: Step): Promise<Classifier> {
    const steps = (await this.#graphs.takesSteps()) ? this.steps : 0;
    return Classifier.adapt(this.#graphs, support, steps, history);
  }
}

function classCounts(support: SupportSet): Map<string, number> {
  const counts = support.counts;
  counts.delete(OTHER);
  return counts;
}
