// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

export const text = {
  // A chunk has whole characters and is not empty. { tag: "pass" } passes it on as it is.
  push(chunk) {
    return { tag: "emit", val: chunk.toUpperCase() };
  },
  // Called at the end of the answer. A plugin that held text back returns it here.
  finish() {
    return "";
  },
};
