/** Elements described as values, and the smallest change that makes the document agree with them. */

type Property = string | number | boolean | null | undefined | ((event: never) => void);

export interface Description {
  readonly tag: string;
  readonly properties: Readonly<Record<string, Property>>;
  readonly children: readonly Child[];
}

/** An element that exists already is put where it is due, and is otherwise left alone. */
export type Child = Description | HTMLElement | string | false | null;

/**
 * An element. Of its properties `on...` are listeners, `key` tells it from its siblings, `created` is called with the element
 * when it is made, `value` is set where it changes here, and the others are attributes.
 */
export function h(tag: string, properties: Readonly<Record<string, Property>> = {}, ...children: Child[]): Description {
  return { tag, properties, children };
}

const SVG = "http://www.w3.org/2000/svg";
const APART = new Set(["key", "created", "value"]);
const described = new WeakMap<Node, Description>();

/** Make the children of an element those that are described; elements that stay keep focus, selection and what is typed. */
export function patch(parent: Element, children: readonly Child[]): void {
  const focused = document.activeElement;
  patchChildren(parent, children);
  if (focused instanceof HTMLElement && focused !== document.activeElement && focused.isConnected) focused.focus();
}

function patchChildren(parent: Element, children: readonly Child[]): void {
  const old = [...parent.childNodes];
  const byKey = new Map<string, ChildNode>();
  for (const node of old) if (described.has(node) || node instanceof Text) byKey.set(keyOf(described.get(node), byKey), node);
  const taken = new Set<Node>();
  const keys = new Map<string, ChildNode>();
  const wanted = children
    .filter((child) => child !== null && child !== false)
    .map((child) => {
      if (child instanceof HTMLElement) {
        taken.add(child);
        return child;
      }
      const key = keyOf(typeof child === "string" ? undefined : child, keys);
      const node = made(byKey.get(key), child, parent);
      keys.set(key, node);
      taken.add(node);
      return node;
    });
  for (const node of old) if (!taken.has(node)) node.remove();
  let cursor = parent.firstChild;
  for (const node of wanted) {
    if (node === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(node, cursor);
  }
}

/** The key, or the tag and which of its siblings of that tag it is. */
function keyOf(description: Description | undefined, siblings: ReadonlyMap<string, unknown>): string {
  const tag = description?.tag ?? "#text";
  if (description?.properties["key"] != null) return `${tag}=${String(description.properties["key"])}`;
  let number = 0;
  while (siblings.has(`${tag}#${number}`)) number += 1;
  return `${tag}#${number}`;
}

function made(old: ChildNode | undefined, child: Description | string, parent: Element): ChildNode {
  if (typeof child === "string") {
    const text = old ?? document.createTextNode(child);
    if (text.nodeValue !== child) text.nodeValue = child;
    return text;
  }
  const element = (old as Element | undefined) ?? created(child, parent);
  const before = described.get(element)?.properties ?? {};
  update(element, before, child.properties);
  described.set(element, child);
  patchChildren(element, child.children);
  // A choice has a value only once it has its options.
  const { value } = child.properties;
  if (value !== undefined && value !== before["value"]) Reflect.set(element, "value", value);
  return element;
}

function created(child: Description, parent: Element): Element {
  const isSvg = child.tag === "svg" || (parent.namespaceURI === SVG && parent.tagName !== "foreignObject");
  const element = isSvg ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag);
  const hook = child.properties["created"];
  if (typeof hook === "function") (hook as (element: Element) => void)(element);
  return element;
}

function update(element: Element, before: Description["properties"], after: Description["properties"]): void {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const value = after[name];
    if (value === before[name] || APART.has(name)) continue;
    if (name === "style") (element as HTMLElement).style.cssText = String(value ?? ""); // as an attribute, a strict policy refuses it
    else if (name.startsWith("on")) Reflect.set(element, name, value ?? null);
    else if (value === undefined || value === null || value === false) element.removeAttribute(name);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}
