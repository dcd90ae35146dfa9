// Tools for the model that read, compare and change JSON (RFC 6901 pointers and RFC 6902 patches).

const BYTES_MAX = 256 * 1024;
const LINES_MAX = 100;

export const lifecycle = {
  describe() {
    return { name: "json-tools", version: "0.1.0", description: "Tools that read, compare and change JSON." };
  },
  init(configJson) {
    const keys = Object.keys(JSON.parse(configJson));
    if (keys.length > 0) throw `unknown configuration key "${keys[0]}"; there are none`;
  },
};

// ---- Values -----------------------------------------------------------------------------------------------------

function parse(text, name) {
  if (text.length > BYTES_MAX) throw `"${name}" has more than ${BYTES_MAX} characters; give a part of it`;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw `"${name}" is not JSON: ${error.message}`;
  }
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const escaped = (name) => name.replaceAll("~", "~0").replaceAll("/", "~1");

function same(a, b) {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => same(item, b[index]));
  }
  if (isObject(a) && isObject(b)) {
    const names = Object.keys(a);
    return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && same(a[name], b[name]));
  }
  return a === b;
}

// The names of a pointer such as /users/0/name.
function names(pointer) {
  if (pointer === "") return [];
  if (!pointer.startsWith("/")) throw `the pointer "${pointer}" must be empty or begin with /, such as /users/0/name`;
  return pointer.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function child(value, name, pointer) {
  const at = Array.isArray(value) && /^(0|[1-9][0-9]*)$/.test(name) ? Number(name) : name;
  if (value === null || typeof value !== "object" || !Object.hasOwn(value, at)) {
    const known = Array.isArray(value) ? `an array of ${value.length}` : isObject(value) ? Object.keys(value).slice(0, 10).join(", ") : "no object or array";
    throw `there is nothing at "${pointer}": no "${name}" in ${known || "an empty object"}`;
  }
  return value[at];
}

const get = (value, pointer) => names(pointer).reduce((found, name) => child(found, name, pointer), value);

// ---- Tools ------------------------------------------------------------------------------------------------------

function find(value, text, pointer, found) {
  if (found.length > LINES_MAX) return;
  if (value !== null && typeof value === "object") {
    for (const [name, inner] of Object.entries(value)) {
      const below = `${pointer}/${escaped(name)}`;
      if (!Array.isArray(value) && name.toLowerCase().includes(text)) found.push(`${below}: ${shortened(inner)}`);
      else if ((inner === null || typeof inner !== "object") && String(inner).toLowerCase().includes(text)) found.push(`${below}: ${shortened(inner)}`);
      if (inner !== null && typeof inner === "object") find(inner, text, below, found);
    }
  }
}

function shortened(value) {
  const text = JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 119)}…` : text;
}

function diff(before, after, pointer, patch) {
  if (same(before, after)) return;
  const lists = Array.isArray(before) && Array.isArray(after);
  if (!lists && !(isObject(before) && isObject(after))) {
    patch.push({ op: "replace", path: pointer, value: after });
    return;
  }
  // From the end, so that the places of the elements before stay the same.
  for (const name of Object.keys(before).reverse()) {
    if (!Object.hasOwn(after, name)) patch.push({ op: "remove", path: `${pointer}/${escaped(name)}` });
  }
  for (const name of Object.keys(after)) {
    const path = `${pointer}/${escaped(name)}`;
    if (Object.hasOwn(before, name)) diff(before[name], after[name], path, patch);
    else patch.push({ op: "add", path, value: after[name] });
  }
}

// The root is in `holder[""]`, so that it is changed like any other value.
function place(holder, pointer) {
  const path = ["", ...names(pointer)];
  const last = path.pop();
  return [path.reduce((value, name) => child(value, name, pointer), holder), last];
}

function add(holder, pointer, value) {
  const [parent, name] = place(holder, pointer);
  if (Array.isArray(parent)) {
    const at = name === "-" ? parent.length : Number(name);
    if (!Number.isInteger(at) || at < 0 || at > parent.length) throw `"${pointer}" is no place of an array of ${parent.length}`;
    parent.splice(at, 0, value);
  } else if (isObject(parent)) {
    // A member named __proto__ is a member like any other.
    Object.defineProperty(parent, name, { value, writable: true, enumerable: true, configurable: true });
  } else {
    throw `"${pointer}" is not in an object or array`;
  }
}

function remove(holder, pointer) {
  const [parent, name] = place(holder, pointer);
  const value = child(parent, name, pointer);
  if (Array.isArray(parent)) parent.splice(Number(name), 1);
  else delete parent[name];
  return value;
}

const copied = (value) => JSON.parse(JSON.stringify(value));

function apply(holder, step) {
  const value = () => {
    if (!Object.hasOwn(step, "value")) throw `the operation "${step.op}" needs a value`;
    return copied(step.value);
  };
  switch (step.op) {
    case "add": return add(holder, step.path, value());
    case "remove": return void remove(holder, step.path);
    case "replace": return remove(holder, step.path), add(holder, step.path, value());
    case "move":
      if (step.path.startsWith(`${step.from}/`)) throw `"${step.from}" cannot move into itself`;
      return add(holder, step.path, remove(holder, step.from));
    case "copy": return add(holder, step.path, copied(get(holder[""], step.from)));
    case "test":
      if (!same(get(holder[""], step.path), value())) throw `the test of "${step.path}" failed`;
      return;
    default: throw `there is no operation "${step.op}"; use add, remove, replace, move, copy or test`;
  }
}

function patched(document, patch) {
  if (!Array.isArray(patch)) throw '"patch" must be an array of operations';
  const holder = { "": document };
  for (const step of patch) {
    if (!isObject(step) || typeof step.path !== "string") throw "each operation is an object with op and path";
    if (["move", "copy"].includes(step.op) && typeof step.from !== "string") throw `the operation "${step.op}" needs a from`;
    apply(holder, step);
  }
  if (!Object.hasOwn(holder, "")) throw "the patch removes the whole document";
  return holder[""];
}

const DOCUMENT = ["json", "The document: JSON as text."];

// Each tool: its description, its arguments (all texts, all required) and its function, which returns a JSON value or a text.
const TOOLS = {
  json_get: {
    description: "Reads the value at a JSON pointer, such as /users/0/name. An empty pointer is the whole document.",
    arguments: [DOCUMENT, ["pointer", "The JSON pointer."]],
    run: ({ json, pointer }) => JSON.stringify(get(parse(json, "json"), pointer)),
  },
  json_find: {
    description: "Finds members by a part of their name, and values by a part of their text. Lists their JSON pointers.",
    arguments: [DOCUMENT, ["text", "The text to find, in upper or lower case."]],
    run({ json, text }) {
      const found = [];
      find(parse(json, "json"), text.toLowerCase(), "", found);
      if (found.length === 0) return "nothing was found";
      return found.slice(0, LINES_MAX).join("\n") + (found.length > LINES_MAX ? "\nand more" : "");
    },
  },
  json_diff: {
    description: "Compares two documents, and lists the operations that turn the first into the second (RFC 6902).",
    arguments: [["before", "The first document: JSON as text."], ["after", "The second document: JSON as text."]],
    run({ before, after }) {
      const patch = [];
      diff(parse(before, "before"), parse(after, "after"), "", patch);
      return patch.length === 0 ? "the documents are equal" : JSON.stringify(patch);
    },
  },
  json_patch: {
    description: "Changes a document by a list of operations (RFC 6902): add, remove, replace, move, copy, test.",
    arguments: [DOCUMENT, ["patch", 'The operations, such as [{"op": "replace", "path": "/a", "value": 1}].']],
    run: ({ json, patch }) => JSON.stringify(patched(parse(json, "json"), parse(patch, "patch"))),
  },
  json_format: {
    description: "Checks that a text is JSON, and writes it with indentation.",
    arguments: [DOCUMENT],
    run: ({ json }) => JSON.stringify(parse(json, "json"), null, 2),
  },
};

function schema(tool) {
  const properties = Object.fromEntries(tool.arguments.map(([name, description]) => [name, { type: "string", description }]));
  const required = tool.arguments.map(([name]) => name);
  return JSON.stringify({ type: "object", properties, required, additionalProperties: false });
}

export const tool = {
  definitions() {
    return Object.entries(TOOLS).map(([name, tool]) => ({
      name,
      description: tool.description,
      inputSchemaJson: schema(tool),
      effects: { readOnly: true, idempotent: true },
    }));
  },
  call(name, argumentsJson) {
    try {
      if (!Object.hasOwn(TOOLS, name)) throw `no tool "${name}"`;
      return { content: [{ tag: "text", val: TOOLS[name].run(JSON.parse(argumentsJson)) }], isError: false };
    } catch (reason) {
      const text = typeof reason === "string" ? reason : String(reason);
      return { content: [{ tag: "text", val: `error: ${text}` }], isError: true };
    }
  },
};
