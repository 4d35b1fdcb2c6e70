/** The camera: its picture on the page, photos taken from it, and frames to classify. */

const QUALITY = 0.92; // of the JPEG that a photo is kept as until it is learned
const MOST_PIXELS = 720; // across; models see 192 at most, and a phone would give 4,000

export class Camera {
  /** Shows the picture; the page puts it where it belongs. */
  readonly video = document.createElement("video");
  #stream: MediaStream | null = null;
  #facing: "environment" | "user" = "environment";
  #taken = 0;

  constructor() {
    this.video.muted = true;
    this.video.playsInline = true; // or iOS would show it full screen
    this.video.setAttribute("aria-label", "What the camera sees");
  }

  /** @throws Error one sentence that says why there is no picture and what to do. */
  async start(): Promise<void> {
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    if (!devices) throw new Error("The browser gives the camera only to pages opened by https or on localhost.");
    try {
      this.#stream = await devices.getUserMedia({
        video: { facingMode: this.#facing, width: { ideal: MOST_PIXELS }, height: { ideal: MOST_PIXELS } },
      });
    } catch (error) {
      throw new Error(whyNot(error));
    }
    this.video.srcObject = this.#stream;
    await this.video.play();
  }

  /** The camera on the other side of a phone. */
  async turn(): Promise<void> {
    this.#facing = this.#facing === "environment" ? "user" : "environment";
    this.stop();
    await this.start();
  }

  stop(): void {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.video.srcObject = null;
  }

  /** The picture as it is now; none before the first. */
  async frame(): Promise<ImageBitmap | null> {
    return this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA ? null : createImageBitmap(this.video);
  }

  /** The picture as a photo, and a name for it. */
  async photo(): Promise<{ image: Blob; name: string } | null> {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth === 0) return null;
    const canvas = document.createElement("canvas");
    canvas.width = videoWidth;
    canvas.height = videoHeight;
    canvas.getContext("2d")?.drawImage(this.video, 0, 0);
    const image = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
    this.#taken += 1;
    const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    return image && { image, name: `camera-${time}-${this.#taken}.jpg` };
  }
}

function whyNot(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") return "The camera was not allowed; allow it in the browser's settings of this page.";
  if (name === "NotFoundError") return "There is no camera on this device; choose photos instead.";
  if (name === "NotReadableError") return "Another program holds the camera; close it there first.";
  return `The camera cannot be used (${error instanceof Error ? error.message : String(error)}).`;
}
