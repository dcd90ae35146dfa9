// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

export const prompt = {
  process(request) {
    if (request.messages.some((message) => message.content.includes("password"))) {
      return { tag: "refuse", val: "please do not send passwords" };
    }
    return { tag: "unchanged" };
  },
};
