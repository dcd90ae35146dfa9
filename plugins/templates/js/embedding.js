// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

export const embedding = {
  // Called with all texts of a request, before the encoder.
  before(request) {
    return { tag: "replace", val: request.texts.map((text) => `query: ${text}`) };
  },
  // Called with all vectors of the request: one for each text, one after the other in `values`.
  after({ dimensions, values }) {
    const kept = Math.max(1, Math.floor(dimensions / 2));
    const halves = Array.from(values).filter((_, at) => at % dimensions < kept);
    return { tag: "replace", val: { dimensions: kept, values: halves } };
  },
};
