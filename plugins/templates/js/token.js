// {{description}}

export const lifecycle = {
  describe() {
    return { name: "{{name}}", version: "0.1.0", description: "{{description}}" };
  },
  // Called once for each instance. The configuration is the text of one JSON object.
  init(configJson) {},
};

// The state of one message. `import { spell } from "firebox:plugin/vocabulary@0.1.0"` gives the bytes of tokens.
class Session {
  // Called at the start of each message of the assistant. A request for several answers has a session for each.
  static start(sequence) {
    return new Session();
  }
  // With candidates, `next` sees the most likely tokens. With holdBack it can take tokens back.
  needs() {
    return { candidates: 0, holdBack: 0 };
  }
  // Called before each token. Other tags are "allow", "allow-mask", "force", "backtrack" and "stop".
  next(step) {
    if (step.accepted.length === 0) return { tag: "keep" };
    const last = step.accepted[step.accepted.length - 1];
    return { tag: "bias", val: { tokens: [last], values: [-100] } };
  }
}

export const token = { Session };
