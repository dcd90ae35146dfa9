// Lists the sources that an answer cites as [1] at its end, and removes citations of sources that do not exist.
//
// Without sources it changes nothing. Configuration: {"sources": ["https://example.com/a", "The Art of Fire, page 7"], "title": "Sources:"}. The model learns the
// sources from its prompt; source 1 is the first one.

// Digits of the largest number of a source.
const DIGITS_MAX = 4;

let sources = [];
let title = "Sources:";
// The numbers of the sources that this message cites, in the order of the first citation.
let cited = [];
// The end of the text so far, if it may be the beginning of a citation.
let held = "";

export const lifecycle = {
  describe() {
    return { name: "cite", version: "0.1.0", description: "Lists the sources that an answer cites." };
  },
  init(configJson) {
    const config = JSON.parse(configJson);
    const unknown = Object.keys(config).find((key) => !["sources", "title"].includes(key));
    if (unknown) throw `unknown configuration key "${unknown}", use one of: sources, title`;
    if (!("sources" in config)) return;
    const isText = (value) => typeof value === "string" && value.trim() !== "";
    if (!Array.isArray(config.sources) || config.sources.length === 0 || !config.sources.every(isText)) {
      throw 'configuration key "sources" must be a list of texts, at least one';
    }
    if (config.sources.length >= 10 ** DIGITS_MAX) throw 'configuration key "sources" has too many texts';
    // A source is one line.
    sources = config.sources.map((source) => source.replace(/\s+/g, " ").trim());
    if ("title" in config) {
      if (!isText(config.title)) throw 'configuration key "title" must be a text';
      title = config.title;
    }
  },
};

function cite(number) {
  if (number < 1 || number > sources.length) return "";
  if (!cited.includes(number)) cited.push(number);
  return `[${number}]`;
}

// The text in which all citations are decided, but for one that may go on in the next chunk.
function decided(text) {
  const pattern = new RegExp(`\\[([0-9]{1,${DIGITS_MAX}})\\]`, "g");
  const begun = text.match(new RegExp(`\\[[0-9]{0,${DIGITS_MAX}}$`));
  held = begun ? begun[0] : "";
  return text.slice(0, text.length - held.length).replace(pattern, (_, number) => cite(Number(number)));
}

export const text = {
  push(chunk) {
    if (sources.length === 0) return { tag: "pass" };
    const after = decided(held + chunk);
    return after === chunk ? { tag: "pass" } : { tag: "emit", val: after };
  },
  finish() {
    const list = cited.map((number) => `[${number}] ${sources[number - 1]}`);
    const end = held + (list.length > 0 ? `\n\n${title}\n${list.join("\n")}` : "");
    cited = [];
    held = "";
    return end;
  },
};
