// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

const schema = {
  type: "object",
  properties: { text: { type: "string" } },
  required: ["text"],
  additionalProperties: false,
};

export const tool = {
  definitions() {
    return [
      {
        name: "shout",
        description: "Turns a text into upper case.",
        inputSchemaJson: JSON.stringify(schema),
        effects: { readOnly: true },
      },
    ];
  },
  // The host has checked that the arguments fit the schema. An error is a result that the model reads.
  call(name, argumentsJson) {
    const { text } = JSON.parse(argumentsJson);
    return { content: [{ tag: "text", val: text.toUpperCase() }], isError: false };
  },
};
