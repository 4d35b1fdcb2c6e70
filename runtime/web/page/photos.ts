/** Photos as people hand them over: chosen, dropped, in folders. */

import { sha256 } from "../src/sha256";
import type { SeenPhoto } from "./store";

const THUMBNAIL = 160; // pixels a side, for 80 on a screen of double density
const IMAGE = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;

/** A file by its name. */
export interface NamedFile {
  readonly file: Blob;
  readonly name: string;
}

/** And the folder that directly holds it; empty where it was given alone. */
export interface GivenFile extends NamedFile {
  readonly folder: string;
}

function given(file: File, folder: string): GivenFile {
  return { file, name: file.name, folder };
}

/** A photo as the page keeps it: its SHA-256 is what the classifier knows it by. */
export async function seen(image: Blob, name: string): Promise<SeenPhoto> {
  return { sha256: await digest(await image.arrayBuffer()), name, image, thumbnail: await thumbnailOf(image) };
}

/** The browser's own is fast and does not block the page, but only pages from https or localhost get it. */
async function digest(bytes: ArrayBuffer): Promise<string> {
  const subtle = crypto.subtle as SubtleCrypto | undefined;
  if (!subtle) return sha256(new Uint8Array(bytes));
  const values = new Uint8Array(await subtle.digest("SHA-256", bytes));
  return [...values].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The middle square, small; empty where the browser cannot show the image, which is said when it is to be learned from. */
async function thumbnailOf(image: Blob): Promise<string> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(image);
  } catch {
    return "";
  }
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL;
  const context = canvas.getContext("2d");
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  context?.drawImage(bitmap, left, top, side, side, 0, 0, THUMBNAIL, THUMBNAIL);
  bitmap.close();
  const small = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/webp", 0.8));
  return small ? URL.createObjectURL(small) : "";
}

/** The images of a chooser's files; of a folder, each with the folder that it lies in. */
export function chosen(input: HTMLInputElement): GivenFile[] {
  const files = [...(input.files ?? [])].map((file) => given(file, folderOf(file.webkitRelativePath)));
  input.value = ""; // the same files may be chosen again
  return sorted(files);
}

/** What was dropped, folders with all that they hold. */
export async function dropped(data: DataTransfer): Promise<GivenFile[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (entries.length === 0) return sorted([...data.files].map((file) => given(file, "")));
  return sorted((await Promise.all(entries.map((entry) => filesOf(entry, "")))).flat());
}

/** Whether something is dragged that could be dropped here. */
export function hasFiles(event: DragEvent): boolean {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

function folderOf(path: string): string {
  return path.split("/").at(-2) ?? "";
}

async function filesOf(entry: FileSystemEntry, folder: string): Promise<GivenFile[]> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [given(file, folder)];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: GivenFile[] = [];
  for (;;) {
    // A browser hands over a hundred at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return files;
    files.push(...(await Promise.all(some.map((inner) => filesOf(inner, entry.name)))).flat());
  }
}

/** Images and bundles in the order of their paths; of folders, hidden files and others are passed over. */
function sorted(files: readonly GivenFile[]): GivenFile[] {
  const path = ({ name, folder }: GivenFile) => `${folder}/${name}`;
  return files
    .filter(({ name, folder }) => !folder || (IMAGE.test(name) && !name.startsWith(".")))
    .sort((one, other) => (path(one) < path(other) ? -1 : 1));
}
