// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

// Characters of a result that the model reads at most.
const CHARACTERS_MAX = 20;

export const toolCall = {
  // Called before each call of any tool, those of MCP servers included.
  before(call) {
    if (call.argumentsJson.includes('"/etc/')) {
      return { tag: "refuse", val: "paths of the system are not allowed" };
    }
    return { tag: "unchanged" };
  },
  // Called with the result of each call that ran.
  after(call, outcome) {
    const characters = Array.from(outcome.content);
    if (characters.length <= CHARACTERS_MAX) return { tag: "unchanged" };
    const content = characters.slice(0, CHARACTERS_MAX).join("") + "…";
    return { tag: "rewrite", val: { content, isError: outcome.isError } };
  },
};
