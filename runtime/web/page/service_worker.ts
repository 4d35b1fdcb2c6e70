/** Keeps the site for use without a network. Its first line, which `edge-adapt web` writes, says what the site consists of. */

interface Site {
  readonly version: string;
  readonly files: readonly string[];
}

const worker = self as unknown as ServiceWorkerGlobalScope & { readonly EDGE_ADAPT_SITE: Site };
const { version, files } = worker.EDGE_ADAPT_SITE;
const { scope } = worker.registration;
const OURS = `edge-adapt ${scope} `; // other sites of this origin have caches of their own
const CACHE = OURS + version;

worker.addEventListener("install", (event) => {
  event.waitUntil(keepAll().then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(forgetFormer().then(() => worker.clients.claim()));
});

worker.addEventListener("fetch", (event) => {
  if (event.request.method === "GET" && event.request.url.startsWith(scope)) event.respondWith(answer(event.request));
});

/** All files or none: a site that is half of one version and half of another would not work. */
async function keepAll(): Promise<void> {
  const cache = await caches.open(CACHE);
  await cache.addAll(files.map((path) => new Request(new URL(path, scope), { cache: "no-cache" })));
}

async function forgetFormer(): Promise<void> {
  const former = (await caches.keys()).filter((name) => name.startsWith(OURS) && name !== CACHE);
  await Promise.all(former.map((name) => caches.delete(name)));
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const asked = request.url === scope ? new URL("index.html", scope) : request;
  return (await cache.match(asked, { ignoreSearch: true })) ?? fetch(request);
}
